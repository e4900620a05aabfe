import { beforeEach, expect, test, vi } from "vitest";

import { openSession, session, signIn, signOut, whileSignedIn } from "./session.svelte";

const WHO = { tenant: "default", scopes: ["read"], key: { id: "key_1", name: "mine" } };
let answers: Record<string, (() => Response) | undefined> = {}; // by method; none: the service is away

beforeEach(() => {
  vi.stubGlobal("location", { hash: "", pathname: "/" });
  vi.stubGlobal("history", { replaceState: (_: unknown, __: string, to: string) => (location.hash = to.slice(1)) });
  vi.stubGlobal("HashChangeEvent", Event);
  vi.stubGlobal("dispatchEvent", () => true);
  vi.stubGlobal("fetch", async (_: string, init: RequestInit) => {
    const answer = answers[init.method!];
    if (!answer) throw new TypeError("Failed to fetch");
    return answer();
  });
  Object.assign(session, { state: "signed out", who: null, why: "", stays: "" });
  answers = { GET: () => Response.json(WHO), POST: () => Response.json(WHO), DELETE: () => new Response(null, { status: 204 }) };
});

const refused = (status: number, detail: string) => (): Response => Response.json({ detail }, { status });

test.each([400, 403, 429, 503])("a sign-in that the service answers with %i says why", async (status) => {
  answers.POST = refused(status, "for a reason");
  await signIn("key");
  expect([session.state, session.why]).toEqual(["signed out", "for a reason"]);
});

test("a sign-in without an answer, or with a key that is unknown, says so too", async () => {
  answers.POST = refused(401, "for a reason");
  await signIn("key");
  expect([session.state, session.why]).toEqual(["signed out", "The service does not know this key."]);
  answers.POST = undefined;
  await signIn("key");
  expect([session.state, session.why]).toEqual(["signed out", expect.stringContaining("does not answer")]);
  answers.POST = () => Response.json(WHO);
  await signIn("key");
  expect([session.state, session.why]).toEqual(["open", ""]);
});

test("a link that the service cannot look at now says why", async () => {
  location.hash = "#signin=c0de";
  Object.assign(answers, { GET: refused(401, ""), POST: refused(503, "the database is away") });
  await openSession();
  expect([session.state, session.why]).toEqual(["signed out", "the database is away"]);
});

test("a link with a lone % leads to the sign-in as every link that is no good does", async () => {
  location.hash = "#signin=%";
  Object.assign(answers, { GET: refused(401, ""), POST: refused(401, "") });
  await openSession();
  expect([session.state, session.why]).toEqual(["signed out", expect.stringContaining("used already")]);
});

test("a link is not followed while nobody knows who is signed in", async () => {
  location.hash = "#signin=c0de";
  let redeemed = 0;
  Object.assign(answers, { GET: refused(503, ""), POST: () => Response.json({ ...WHO, n: ++redeemed }) });
  await openSession();
  expect([session.state, redeemed]).toEqual(["open", 0]);
});

test("who could not be signed out is told so, and stays", async () => {
  Object.assign(session, { state: "open", who: WHO });
  answers.DELETE = refused(503, "the database is away");
  await signOut();
  expect([session.state, session.who, session.stays]).toEqual(["open", WHO, "You are still signed in. the database is away"]);
  answers.DELETE = undefined;
  await signOut();
  expect([session.state, session.stays]).toEqual(["open", expect.stringContaining("does not answer")]);
});

test.each([204, 401])("a sign-out that is answered with %i is one", async (status) => {
  Object.assign(session, { state: "open", who: WHO, stays: "You are still signed in." });
  answers.DELETE = () => new Response(null, { status });
  await signOut();
  expect([session.state, session.who, session.stays]).toEqual(["signed out", null, ""]);
});

test("what outlives its view is nobody else's", async () => {
  const kept = whileSignedIn(() => ({}));
  await signIn("key");
  const mine = kept();
  expect(kept()).toBe(mine);
  await signOut();
  answers.GET = () => Response.json({ ...WHO, key: { id: "key_2", name: "another" } });
  await signIn("other");
  expect(kept()).not.toBe(mine);
});
