// How photos get on the page: chosen, dropped, pasted, from a folder, from the examples.

// take(files, leftOut): leftOut counts a folder's files that are no photos, or that systems leave behind.
export function installChoosers(page, take) {
  for (const input of page.querySelectorAll("#files, #camera")) {
    input.addEventListener("change", () => {
      take([...input.files], 0);
      input.value = ""; // so that the same photos can be chosen again
    });
  }
  const folder = page.querySelector("#folder");
  const known = {
    suffixes: page.querySelector("#files").accept.split(","),
    leftovers: new Set(folder.dataset.leftovers.split("|")),
  };
  folder.addEventListener("click", () => chooseFolder(known, take));
  page.querySelectorAll(".example").forEach((button) => {
    button.addEventListener("click", () => addExample(button, take));
  });
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) take(files, 0);
  });
  installDrop(page.querySelector("#veil"), known, take);
}

function chooseFolder(known, take) {
  const input = Object.assign(document.createElement("input"), { type: "file", webkitdirectory: true, multiple: true });
  input.addEventListener("change", () => {
    takePhotos([...input.files].map((file) => [file.webkitRelativePath, file]), known, take);
  });
  input.click();
}

function hasSuffix(name, suffixes) {
  return suffixes.some((suffix) => name.toLowerCase().endsWith(suffix));
}

// files: [path from the chosen folder on, file] each.
function takePhotos(files, { suffixes, leftovers }, take) {
  const isLeftover = (name) => name.startsWith(".") || leftovers.has(name.toLowerCase());
  const photos = files
    .filter(([path]) => !path.split("/").slice(1).some(isLeftover))
    .map(([, file]) => file)
    .filter((file) => file.type.startsWith("image/") || hasSuffix(file.name, suffixes));
  take(photos, files.length - photos.length);
}

async function addExample(button, take) {
  try {
    const reply = await fetch(button.dataset.src);
    if (!reply.ok) return;
    const blob = await reply.blob();
    take([new File([blob], button.dataset.name, { type: blob.type })], 0);
  } catch {
    // the server is away: nothing was added, and the button can be pressed again
  }
}

function installDrop(veil, known, take) {
  let depth = 0;
  const deep = (now) => { depth = Math.max(0, now); veil.hidden = !depth; };
  const on = (name, action) => addEventListener(name, (event) => {
    if ([...(event.dataTransfer?.types ?? [])].includes("Files")) action(event);
  });
  on("dragenter", () => deep(depth + 1));
  on("dragleave", () => deep(depth - 1));
  on("dragover", (event) => event.preventDefault());
  on("drop", async (event) => {
    event.preventDefault();
    deep(0);
    const plain = [...event.dataTransfer.files];
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (!entries.some((entry) => entry.isDirectory)) {
      take(plain, 0);
      return;
    }
    const files = [];
    for (const entry of entries) await walk(entry, entry.isFile ? `/${entry.name}` : entry.name, files);
    takePhotos(files, known, take);
  });
}

async function walk(entry, path, files) {
  if (entry.isFile) {
    const file = await new Promise((done) => entry.file(done, () => done(null)));
    if (file) files.push([path, file]);
    return;
  }
  const reader = entry.createReader();
  for (;;) { // a reader gives a hundred entries a call
    const some = await new Promise((done) => reader.readEntries(done, () => done([])));
    if (!some.length) return;
    for (const one of some) await walk(one, `${path}/${one.name}`, files);
  }
}
