// Who is signed in: the one place that knows how. A service without keys has no session, and needs none.

export interface Who {
  tenant: string;
  scopes: string[];
  key: { id: string; name: string };
}

interface Session {
  state: "opening" | "open" | "signed out";
  who: Who | null;
  why: string;
}

export const session: Session = $state({ state: "opening", who: null, why: "" });

const PATH = "/v1/session";
const USED_UP = "This link was used already, or is too old. Ask for a new one, or sign in with a key.";

/** Takes in the code of a `#signin=CODE` link, if the address has one, and asks who is signed in. */
export async function openSession(): Promise<void> {
  const code = /^#signin=(.+)$/.exec(location.hash)?.[1];
  if (code !== undefined) {
    history.replaceState(null, "", `${location.pathname}#/jobs`); // the code is nobody's to see or to bookmark
    dispatchEvent(new HashChangeEvent("hashchange"));
    const body = JSON.stringify({ code: decodeURIComponent(code) });
    const answer = await ask("POST", { headers: { "Content-Type": "application/json" }, body });
    if (answer?.status === 401) session.why = USED_UP;
  }
  await look();
}

/** Signs in with a key; says why not where that fails. */
export async function signIn(key: string): Promise<void> {
  if (!/^[\x21-\x7e]+$/.test(key)) {
    session.why = "A key has no spaces, and only letters, digits and signs of ASCII.";
    return;
  }
  const answer = await ask("POST", { headers: { Authorization: `Bearer ${key}` } });
  session.why = answer?.status === 401 ? "The service does not know this key." : "";
  await look();
}

/** Ends the session, on the server too. */
export async function signOut(): Promise<void> {
  await ask("DELETE", {});
  session.why = "";
  signedOut();
}

/** A request was refused for want of a session. */
export function signedOut(): void {
  session.state = "signed out";
  session.who = null;
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
    return null; // the views say that the service is away, and go on when it is back
  }
}
