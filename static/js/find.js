// Which photos are shown, in which order: compares the choices and sort keys that the server sends with each.

export class Finder {
  // changed(): the person wants to see others.
  constructor(form, changed) {
    this.form = form;
    form.addEventListener("input", changed);
    form.addEventListener("submit", (event) => event.preventDefault());
  }

  get #wanted() { return this.form.elements.text.value.trim().toLowerCase(); }
  get plain() { return this.form.elements.show.value === "all" && this.form.elements.sort.value === "sent" && !this.#wanted; }

  // A photo that is on its way to the server has a state and a name only.
  fits({ name, state, show = ["all", state], text = name.toLowerCase() }) {
    return show.includes(this.form.elements.show.value) && text.includes(this.#wanted);
  }

  found(items) {
    const order = this.form.elements.sort.value;
    const known = (item) => item.sort !== undefined;
    return items.filter((item) => this.fits(item)).sort((one, other) => known(other) - known(one) ||
      (known(one) && compare(one.sort[order], other.sort[order])) || one.index - other.index);
  }
}

const compare = (one, other) => (one < other ? -1 : one > other ? 1 : 0);
