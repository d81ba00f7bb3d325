// Keeps a page up to date: asks for it again and takes over what is marked as live.

const EVERY = 2000;

async function look() {
  try {
    const reply = await fetch(location.pathname, { headers: { Accept: "text/html" } });
    if (!reply.ok) throw new Error(reply.status);
    const fresh = new DOMParser().parseFromString(await reply.text(), "text/html");
    for (const old of document.querySelectorAll("[data-live]")) {
      if (old.querySelector("details[open], :focus")) continue; // somebody is about to press something there
      const now = fresh.getElementById(old.id);
      if (now && now.innerHTML !== old.innerHTML) old.replaceChildren(...now.childNodes);
    }
    document.getElementById("lost").hidden = true;
  } catch {
    document.getElementById("lost").hidden = false;
  }
}

for (;;) {
  await new Promise((done) => { setTimeout(done, EVERY); });
  if (!document.hidden) await look();
}
