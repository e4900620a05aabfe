"""Pictures of the web page for its documentation: a service of its own, real jobs, every view in light and dark.

Needs Chromium and what `make setup` installs. Run as `make screenshots`.
"""

import os
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright
from service_process import ServiceProcess

from chainrule import Client
from chainrule.specs import read_spec

HERE = Path(__file__).resolve().parent
DATA = HERE / "data"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
SIZE = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 800}
MOST_PX = 2_000  # of a picture's height
SETTLES_MS = 1500  # until what slides and fades has come to rest
WIDE: list[dict[str, Any]] = [
    {"type": "dense", "units": 256, "activation": "relu"},
    {"type": "dense", "units": 64, "activation": "relu"},
]


def main() -> int:
    """Writes `<view>-light.png` and `<view>-dark.png` into the folder named by the first argument."""
    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    chromium = shutil.which("chromium")
    if chromium is None:
        print("screenshots: no Chromium is installed: apt-get install chromium", file=sys.stderr)
        return 1
    with ServiceProcess() as service, Client(service.url) as client, sync_playwright() as playwright:
        service.wait_until_ready()
        jobs = fill(client)
        lose_a_worker(service, jobs["live"])
        until(client, jobs["live"], "workers", "workers", 2)  # again, as another has replaced it
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for scheme in ("light", "dark"):
            take(browser, client, scheme, jobs, folder)
        browser.close()
        client.cancel(jobs["live"])
    return 0


def fill(admin: Client) -> dict[str, str]:
    """Data sets and jobs as a small team might have them, with keys of their own; the ids of those that are shown."""
    ada, grace, emmy = (member(admin, name) for name in ("ada", "grace", "emmy"))
    ada.add_dataset(DATA / "digits-train.npz", "digits")
    ada.add_dataset(DATA / "adult-train.csv.gz", "adult")
    ada.add_dataset(DATA / "adult-test.csv.gz", "adult-test")
    ada.add_dataset(DATA / "wine-quality-white.csv", "wine")
    too_fast = {"optimizer": {"type": "sgd", "learning_rate": 500.0}, "preprocessing": {"standardize": False}}
    jobs = {
        "digits": submit(ada, "digits", "digits"),
        "adult": submit(grace, "adult", "adult-income"),
        "wine": submit(ada, "wine", "wine-quality"),
        "again": submit(emmy, "wine", "wine-quality, one worker", workers=1),
        "wider": submit(emmy, "wine", "wine, wider", layers=WIDE),
        "sgd": submit(emmy, "wine", "wine, sgd", optimizer={"type": "sgd", "learning_rate": 0.03}),
        "failed": submit(emmy, "wine", "wine, too fast", **too_fast),
        "stopped": submit(grace, "adult", "adult, early stopping", early_stopping={"patience": 2}, epochs=40),
    }
    for job_id in jobs.values():
        ada.wait(job_id)
    jobs["paused"] = submit(emmy, "adult", "adult, over lunch", epochs=60)
    until(emmy, jobs["paused"], "metrics", "epoch", 20)
    emmy.pause(jobs["paused"])
    until(emmy, jobs["paused"], "state", "to", "paused")
    jobs["live"] = submit(grace, "adult", "adult, all night", epochs=2_000)
    jobs["queued"] = submit(ada, "digits", "digits, larger batches", batch_size=1024, epochs=50)
    until(grace, jobs["live"], "metrics", "epoch", 12)
    return jobs


def until(client: Client, job_id: str, kind: str, name: str, value: Any) -> None:
    """Waits for an event of a job that has this value."""
    for event in client.events(job_id):
        if event.type == kind and event.data.get(name) == value:
            break


def lose_a_worker(service: ServiceProcess, job_id: str) -> None:
    """Kills a gradient worker of a job, as a machine that has no memory left would."""
    for process_id in service.processes():
        process = Path(f"/proc/{process_id}")
        with suppress(OSError):  # it has ended
            trains = f"/{job_id}/prepared/" in (process / "maps").read_text(errors="replace")
            if trains and ".serve" in (process / "cmdline").read_text(errors="replace"):
                os.kill(process_id, signal.SIGKILL)
                return


def member(admin: Client, name: str) -> Client:
    """A client of somebody whose key is called so."""
    return Client(admin.url, key=admin.add_key(name, scopes=["read", "submit"]).key)


def submit(client: Client, file: str, name: str, **settings: Any) -> str:
    """Submits one of the examples with other settings; returns the job's id."""
    spec = {**read_spec(HERE / f"{file}.yaml"), "name": name, **settings}
    return client.submit(spec).id


def take(browser: Browser, client: Client, scheme: Any, jobs: dict[str, str], folder: Path) -> None:
    """One picture of each view."""
    context = browser.new_context(base_url=client.url, color_scheme=scheme, viewport=SIZE)
    page = context.new_page()
    page.goto("/")
    page.get_by_label("Key").wait_for()
    picture(page, folder / f"sign-in-{scheme}.png")
    context.request.post("/v1/session", headers={"Authorization": f"Bearer {client.key}"})
    page.reload()  # which finds that it is signed in
    views = {
        "jobs": "jobs",
        "job": f"jobs/{jobs['wider']}",
        "running": f"jobs/{jobs['live']}",
        "paused": f"jobs/{jobs['paused']}/history",
        "failed": f"jobs/{jobs['failed']}/logs",
        "quality": f"jobs/{jobs['adult']}/quality",
        "regression": f"jobs/{jobs['wider']}/quality",
        "network": f"jobs/{jobs['adult']}/network",
        "history": f"jobs/{jobs['wine']}/history",
        "crew": f"jobs/{jobs['live']}/history",
        "logs": f"jobs/{jobs['wine']}/logs",
        "try-it": f"jobs/{jobs['digits']}/try",
        "compare": f"compare?jobs={jobs['wine']},{jobs['wider']},{jobs['sgd']}",
        "datasets": "datasets",
        "dataset": "datasets/adult",
        "new-job": "new?dataset=wine",
        "cluster": "cluster",
        "learn": "learn",
    }
    for name, address in views.items():
        page.goto(f"/#/{address}")
        page.get_by_role("heading", level=1).wait_for()
        if name == "learn":
            page.get_by_role("slider", name="Step").fill("14")
            page.get_by_role("slider", name="Step").blur()
        picture(page, folder / f"{name}-{scheme}.png")
    page.goto("/#/new?dataset=wine")
    page.get_by_label("batch size", exact=True).fill("-3")
    page.get_by_text("expected an integer").first.wait_for()
    picture(page, folder / f"form-error-{scheme}.png")
    page.goto("/#/datasets")
    with tempfile.TemporaryDirectory() as bad:
        file = Path(bad) / "prices.csv"
        file.write_text("area,price\n60,210000\n75\n")
        page.locator("input[type=file]").set_input_files(file)
        page.get_by_role("button", name="Upload").click()
        page.get_by_role("alert").first.wait_for()
    picture(page, folder / f"bad-file-{scheme}.png")
    newcomer = browser.new_context(base_url=client.url, color_scheme=scheme, viewport=SIZE)
    key = client.add_key("newcomer", tenant="newcomers", scopes=["read", "submit"]).key
    newcomer.request.post("/v1/session", headers={"Authorization": f"Bearer {key}"})
    empty = newcomer.new_page()
    empty.goto("/")
    picture(empty, folder / f"empty-{scheme}.png")
    newcomer.close()
    phone = browser.new_context(
        base_url=client.url, color_scheme=scheme, viewport=PHONE, is_mobile=True, storage_state=context.storage_state()
    )
    page = phone.new_page()
    for name, address in {"phone": "jobs", "phone-job": f"jobs/{jobs['wider']}"}.items():
        page.goto(f"/#/{address}")
        picture(page, folder / f"{name}-{scheme}.png")
    phone.close()
    context.close()


def picture(page: Page, path: Path) -> None:
    """The whole view once it has come to rest; the window is made as high, so that what fills its height still does."""
    size = page.viewport_size
    assert size is not None
    page.wait_for_load_state()
    page.get_by_role("status", name="Loading").first.wait_for(state="detached")
    page.wait_for_timeout(SETTLES_MS)
    height = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": size["width"], "height": max(size["height"], min(height, MOST_PX))})
    page.wait_for_timeout(SETTLES_MS)
    page.screenshot(path=path)
    page.set_viewport_size(size)


if __name__ == "__main__":
    sys.exit(main())
