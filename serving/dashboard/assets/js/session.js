// Who is looking: a key is given once and exchanged for a session that scripts cannot read.

import { get, Refused, send, setCsrf } from "./api.js";
import { byId } from "./dom.js";
import { t } from "./words.js";

/** Resolve with the session; ask for a key where there is none. */
export async function signedIn() {
  try {
    return begin(await get("/v1/session"));
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 401) throw error;
    return askForKey();
  }
}

export async function signOut() {
  await send("DELETE", "/v1/session");
  location.reload();
}

function begin(session) {
  setCsrf(session.csrf_token);
  return session;
}

function askForKey() {
  const dialog = byId("sign-in");
  const form = byId("sign-in-form");
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  dialog.showModal();
  return new Promise((resolve) => {
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const field = byId("key");
      try {
        const session = begin(await send("POST", "/v1/session", { key: field.value.trim() }));
        field.value = "";
        dialog.close();
        resolve(session);
      } catch (error) {
        byId("sign-in-error").textContent = t("sign_in.failed", { detail: error.message });
        field.select();
      }
    });
  });
}
