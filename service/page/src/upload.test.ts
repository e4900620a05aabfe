import { expect, test } from "vitest";

import { queryOf } from "./upload";

test("a file is read as somebody says, and else as the service finds", () => {
  const byItself = { name: "a b", delimiter: "", missing: "", header: "", types: "" } as const;
  expect(String(queryOf(byItself))).toBe("name=a+b");
  const said = { ...byItself, delimiter: "tab", header: "false", missing: "-999, n/k," } as const;
  expect(String(queryOf(said))).toBe("name=a+b&delimiter=tab&header=false&missing=-999&missing=n%2Fk");
});
