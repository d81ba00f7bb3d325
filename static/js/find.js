// Which photos are shown, and in which order; web_tier/results/view.py does the same where there is no script.

import { total } from "./timeline.js";

const SHOWN = {
  all: () => true,
  done: (item) => item.state === "done",
  failed: (item) => item.state === "failed",
  warned: (item) => item.state === "done" && item.warnings?.length > 0,
};

const says = (item) => (item.correction || (item.state === "done" ? item.label : "")).toLowerCase();

// What is not answered yet comes last.
const ORDERS = {
  sent: (item) => item.index,
  name: (item) => item.name.toLowerCase(),
  label: (item) => (item.state === "done" ? "0" : "1") + says(item),
  sure: (item) => (item.state === "done" ? item.sure ?? 2 : 2),
  slow: (item) => -(item.total ?? total(item.seconds)),
};

export class Finder {
  // changed(): the person wants to see others.
  constructor(form, changed) {
    this.form = form;
    form.addEventListener("input", changed);
    form.addEventListener("submit", (event) => event.preventDefault());
  }

  get #wanted() { return this.form.elements.text.value.trim().toLowerCase(); }
  get plain() { return this.form.elements.show.value === "all" && this.form.elements.sort.value === "sent" && !this.#wanted; }

  fits(item) {
    const wanted = this.#wanted;
    return SHOWN[this.form.elements.show.value](item) && (!wanted ||
      [item.name, item.state === "done" ? item.label : "", item.correction].some((words) => words?.toLowerCase().includes(wanted)));
  }

  found(items) {
    const key = ORDERS[this.form.elements.sort.value];
    const keyed = items.filter((item) => this.fits(item)).map((item) => [key(item), item]);
    keyed.sort(([one, first], [other, second]) => (one < other ? -1 : one > other ? 1 : first.index - second.index));
    return keyed.map(([, item]) => item);
  }
}
