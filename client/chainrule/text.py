"""Text that users wrote, made safe to print."""

__all__ = ["plain"]


def plain(text: object) -> str:
    """`text` on one line, without the control characters by which a name could steer the terminal."""
    return "".join(letter if letter.isprintable() else "�" for letter in str(text))
