// Keeps the payments page current. Without it the page is complete, and newer after a reload.
"use strict";

const AGAIN_MS = 30000;
const state = document.getElementById("live-state");
const waiting = new Map(); // part -> HTML, while somebody is copying text out of it

function parts(name) {
  return document.querySelectorAll(`[data-live="${name}"]`);
}

function show(part, html) {
  const open = [...part.querySelectorAll("details[open]")].map((one) => one.id);
  part.innerHTML = html; // made and escaped by the office's templates
  for (const id of open) {
    const details = document.getElementById(id);
    if (details) details.open = true;
  }
}

function selected(part) {
  const selection = document.getSelection();
  return selection && !selection.isCollapsed && selection.containsNode(part, true);
}

function arrived(event) {
  for (const part of parts(event.type)) {
    if (selected(part)) waiting.set(part, event.data);
    else {
      waiting.delete(part);
      show(part, event.data);
    }
  }
  state.textContent = `live · ${new Date().toLocaleTimeString()}`;
}

document.addEventListener("selectionchange", () => {
  for (const [part, html] of [...waiting]) {
    if (!selected(part)) {
      waiting.delete(part);
      show(part, html);
    }
  }
});

function listen() {
  const source = new EventSource("/payments/events");
  for (const name of ["sums", "findings", "open", "recent"]) source.addEventListener(name, arrived);
  source.addEventListener("error", () => {
    state.textContent = "not live: connecting again";
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, AGAIN_MS); // refused: the browser itself gives up
  });
}

if (state) listen();
