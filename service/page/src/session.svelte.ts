// Who is signed in: the one place that knows how. A service without keys has no session, and needs none.
import { decoded } from "./address";
import { NO_ANSWER, problemOf } from "./api";

export interface Who {
  tenant: string;
  scopes: string[];
  key: { id: string; name: string };
}

interface Session {
  state: "opening" | "open" | "signed out" | "asked";
  who: Who | null;
  why: string;
  stays: string; // why somebody could not be signed out
}

export const session: Session = $state({ state: "opening", who: null, why: "", stays: "" });

/** The code of a link that was opened by somebody who is signed in. */
let offered = "";

const PATH = "/v1/session";
const UNKNOWN = "The service does not know this key.";
const USED_UP = "This link was used already, or is too old. Ask for a new one, or sign in with a key.";

/**
 * Takes in the code of a `#signin=CODE` link, if the address has one, and asks who is signed in. Who is so already is asked
 * first: else any key's holder could send a link that moves others to a tenant of theirs.
 */
export async function openSession(): Promise<void> {
  const code = /^#signin=(.+)$/.exec(location.hash)?.[1];
  if (code !== undefined) {
    history.replaceState(null, "", `${location.pathname}#/jobs`); // the code is nobody's to see or to bookmark
    dispatchEvent(new HashChangeEvent("hashchange"));
    const answer = await ask("GET", {});
    if (answer?.ok) {
      session.who = (await answer.json()) as Who;
      session.state = "asked";
      offered = code;
      return;
    }
    if (answer?.status === 401) await redeem(code); // else nobody knows, and the views say that the service is away
  }
  await look();
}

/** A link that is opened where the page is open already changes the fragment alone, and loads nothing. */
export function onHash(): void {
  if (location.hash.startsWith("#signin=")) void openSession();
}

/** Signs in by the link after all; says why not where that fails, and asks again. */
export async function followLink(): Promise<void> {
  await redeem(offered);
  if (session.why === "") await look();
}

/** Stays signed in as before; the link's code is good for whoever has it, until it is too old. */
export function leaveLink(): void {
  offered = session.why = "";
  session.state = "open";
}

/** Signs in with a key; says why not where that fails. */
export async function signIn(key: string): Promise<void> {
  if (!/^[\x21-\x7e]+$/.test(key)) {
    session.why = "A key has no spaces, and only letters, digits and signs of ASCII.";
    return;
  }
  session.why = await whyNotOk(await ask("POST", { headers: { Authorization: `Bearer ${key}` } }), UNKNOWN);
  if (session.why === "") await look();
}

/** Ends the session, on the server too; says why not where that fails, as its cookie is good for hours yet. */
export async function signOut(): Promise<void> {
  const why = await whyNotOk(await ask("DELETE", {}), "");
  session.stays = why && `You are still signed in. ${why}`;
  if (why) return;
  session.why = "";
  signedOut();
}

/** Why whoever is signed in may change nothing; nothing where they may. */
export function whyNot(): string {
  const { who } = session;
  return !who || who.scopes.includes("submit") ? "" : `The key ${who.key.name} may only read: it has not the scope submit.`;
}

/** What outlives its view, for as long as the same key is signed in; for another one it is made anew. */
export function whileSignedIn<T>(make: () => T): () => T {
  let kept: { whose: string; thing: T } | null = null;
  return () => {
    const whose = session.who?.key.id ?? "";
    if (kept?.whose !== whose) kept = { whose, thing: make() };
    return kept.thing;
  };
}

/** A request was refused for want of a session. */
export function signedOut(): void {
  session.state = "signed out";
  session.who = null;
  session.stays = "";
}

async function redeem(code: string): Promise<void> {
  const body = JSON.stringify({ code: decoded(code) });
  const answer = await ask("POST", { headers: { "Content-Type": "application/json" }, body });
  session.why = await whyNotOk(answer, USED_UP);
}

/** Nothing where all is well; what is said of a 401, which is no reason to lead to the sign-in here; else what it says. */
async function whyNotOk(answer: Response | null, of401: string): Promise<string> {
  if (answer === null) return NO_ANSWER;
  if (answer.status === 401) return of401;
  return answer.ok ? "" : (await problemOf(answer)).message;
}

async function look(): Promise<void> {
  const answer = await ask("GET", {});
  if (answer?.status === 401) {
    signedOut();
    return;
  }
  session.who = answer?.ok ? ((await answer.json()) as Who) : null;
  session.state = "open";
}

async function ask(method: string, init: RequestInit): Promise<Response | null> {
  try {
    return await fetch(PATH, { method, credentials: "same-origin", ...init });
  } catch {
    return null; // no answer; the views say so too, and go on when the service is back
  }
}
