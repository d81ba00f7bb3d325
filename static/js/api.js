// The forms of the API's page send what was filled in, and show what came back.

for (const form of document.querySelectorAll("form.try")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const shown = form.querySelector("pre");
    shown.hidden = false;
    shown.textContent = "…";
    try {
      shown.textContent = await answer(form);
    } catch (error) {
      shown.textContent = `The server does not answer (${error.message})`;
    }
  });
}

async function answer(form) {
  let path = form.dataset.path;
  const query = new URLSearchParams();
  const headers = {};
  let body;
  for (const input of form.elements) {
    const value = input.value?.trim();
    if (!input.name || !value) continue;
    if (input.dataset.in === "path") path = path.replace(`{${input.name}}`, encodeURIComponent(value));
    if (input.dataset.in === "query") query.set(input.name, value);
    if (input.dataset.in === "header") headers[input.name] = value;
    if (input.dataset.in === "file") body = input.files[0];
    if (input.dataset.in === "json") {
      headers["Content-Type"] = "application/json";
      body = value;
    }
    if (input.dataset.in === "form") {
      body = new FormData();
      for (const file of input.files) body.append(input.name, file);
    }
  }
  const address = query.size ? `${path}?${query}` : path;
  const reply = await fetch(address, { method: form.dataset.method, headers, body });
  const text = await reply.text();
  return `${reply.status} ${reply.statusText}\n${pretty(text)}`;
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
