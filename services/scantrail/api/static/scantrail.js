/* What the page does itself. Everything it shows comes from the server; everything it changes goes
   to the API's own routes.

   <form data-api="POST /alerts/7/resolve" data-version="3" data-then="refresh #alert">
     sends its fields as JSON: `a.b` is a field of a field, data-as="list" a line each, "number",
     "time" a datetime-local by this computer's clock, "yes" of a checkbox; empty fields are left
     out. data-version: the version that is changed; data-new: what exists is refused. `{id}` in the
     address is the field `id`, which then is in the body no more.
     data-then: `refresh #id`, `go /address` ({id} is of the answer), `void`: nothing; without it
     the page anew. The event scantrail:done tells the answer. data-told: what to say then ({units}
     is of the answer). data-again="left": it is sent again while that field of the answer is not 0.
     <div data-items="selectors"> is a list: each [data-item] in it an object with the fields in it.
     data-file: the file that is chosen in it is the body, its other fields go into the address.
     Lines that an answer tells as `rejected`, while it took the others, are shown.
     What is refused is shown at its field: `note`, `units[3]`, `selectors[1].low`.
   <button data-remove="fieldset"> takes the nearest such element away.
   <button data-copy="id"> copies the text of the element with that id; <button data-print> prints.
   <input data-keep-focus>  the box into which a scanner types: it has the focus whenever no other
     field wants it. */
(() => {
  "use strict";

  const value = (field) => {
    if (field.type === "checkbox") return field.checked;
    const text = field.value.trim();
    if (text === "") return undefined;
    switch (field.dataset.as) {
      case "number": return Number(text);
      case "time": return new Date(text).toISOString();
      case "list": return text.split(/[\r\n]+/).map((line) => line.trim()).filter(Boolean);
      default: return text;
    }
  };

  const itemsOf = (list) => Array.from(list.querySelectorAll("[data-item]"));

  const bodyOf = (form) => {
    const body = {};
    const items = new Map();
    for (const list of form.querySelectorAll("[data-items]")) {
      body[list.dataset.items] = itemsOf(list).map((item) => items.set(item, {}).get(item));
    }
    for (const field of form.elements) {
      if (!field.name || field.disabled || field.type === "file" || (field.type === "radio" && !field.checked)) continue;
      const told = value(field);
      if (told === undefined) continue;
      const path = field.name.split(".");
      const last = path.pop();
      let at = items.get(field.closest("[data-item]")) || body;
      for (const part of path) at = at[part] ??= {};
      at[last] = told;
    }
    return body;
  };

  const tell = (text) => {
    const told = document.getElementById("told");
    if (told) told.textContent = text;
  };

  const filled = (text, answer, as = String) => text.replace(/\{(\w+)\}/g, (_, name) => as(answer[name] ?? ""));

  /* Where in a form a problem's field is: the field itself, or the item that has it. */
  const placeOf = (form, named) => {
    const [, list, number, name] = named.match(/^(\w+)\[(\d+)\](?:\.(\w+))?/) || [];
    const items = list && form.querySelector(`[data-items="${list}"]`);
    if (!items) return form.elements.namedItem(named.replace(/\[\d+\]$/, ""));
    const item = itemsOf(items)[number];
    return (name && item && item.querySelector(`[name="${name}"]:not([type="hidden"])`)) || item;
  };

  const accept = (form) => {
    form.querySelector(".refused")?.remove();
    for (const field of form.querySelectorAll("[aria-invalid]")) {
      field.removeAttribute("aria-invalid");
      field.removeAttribute("aria-errormessage");
    }
  };

  const refuse = (form, problem) => {
    accept(form);
    const shown = document.createElement("div");
    shown.className = "refused alert critical";
    shown.id = `refused-${document.querySelectorAll(".refused").length}`;
    shown.setAttribute("role", "alert");
    shown.textContent = problem.detail || problem.title || "It could not be done.";
    if (problem.lines) {
      const lines = shown.appendChild(document.createElement("ul"));
      for (const line of problem.lines) {
        lines.appendChild(document.createElement("li")).textContent = `line ${line.line}: ${line.detail}`;
      }
    }
    const place = problem.field ? placeOf(form, problem.field) : null;
    const found = place && place.matches && !place.matches("[type=hidden]") ? place : null;
    const isField = found && found.matches("input, select, textarea");
    if (!found) form.append(shown);
    else if (isField) (found.closest("label") || found).after(shown);
    else found.append(shown);
    const field = isField ? found : found && found.querySelector("input:not([type=hidden]), select, textarea");
    if (!field) return;
    field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-errormessage", shown.id);
    field.focus();
  };

  const then = (form, answer) => {
    const [what, where] = (form.dataset.then || "").split(" ");
    if (what === "refresh") {
      form.reset();
      return htmx.trigger(where, "refresh");
    }
    if (what === "void") return undefined; // whoever listens shows it
    sessionStorage.setItem("told", document.getElementById("told").textContent);
    if (what === "go") return location.assign(filled(where, answer, encodeURIComponent));
    return location.reload();
  };

  tell(sessionStorage.getItem("told") || "");
  sessionStorage.removeItem("told");

  /* A form that failed is sent again under its own key, so that nothing is done twice. */
  const keyOf = (form, path, body) => {
    if (form.sent !== body || form.sentTo !== path) {
      form.sent = body;
      form.sentTo = path;
      form.key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
    }
    return form.key;
  };

  /* Where to, of which kind, what. */
  const requestOf = (form, address) => {
    const body = bodyOf(form);
    const path = filled(address, body, encodeURIComponent);
    for (const [, name] of address.matchAll(/\{(\w+)\}/g)) delete body[name];
    if (!("file" in form.dataset)) return [path, "application/json", JSON.stringify(body)];
    const [file] = form.querySelector("[type=file]").files;
    const more = new URLSearchParams(Object.entries(body).flatMap(([name, told]) => [told].flat().map((each) => [name, each])));
    return [more.size ? `${path}?${more}` : path, "text/csv", file];
  };

  const send = async (form, before = Infinity) => {
    const [method, address] = form.dataset.api.split(" ");
    const [path, kind, body] = requestOf(form, address);
    const headers = { "Content-Type": kind };
    if (method === "POST") headers["Idempotency-Key"] = keyOf(form, path, body);
    if (form.dataset.version) headers["If-Match"] = `"${form.dataset.version}"`;
    if ("new" in form.dataset) headers["If-None-Match"] = "*";
    const button = form.querySelector("button:not([type=button])");
    if (button) button.disabled = true;
    if (kind !== "application/json") tell("Sending the file …");
    try {
      const answer = await fetch(path, { method, headers, body, credentials: "same-origin" });
      const told = await answer.json().catch(() => ({}));
      if (answer.status === 401) return location.assign(`/page/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
      if (!answer.ok) {
        tell("");
        return refuse(form, told);
      }
      form.sent = undefined;
      accept(form);
      tell(filled(form.dataset.told || "Done.", told));
      const left = told[form.dataset.again] || 0;
      if (left && left < before) return await send(form, left);
      form.dispatchEvent(new CustomEvent("scantrail:done", { bubbles: true, detail: told }));
      if (told.rejected?.length) return refuse(form, { detail: `${told.rejected.length} lines were not taken.`, lines: told.rejected });
      return then(form, told);
    } catch {
      refuse(form, { detail: "The server does not answer. Nothing may have been done: send it again." });
    } finally {
      if (button) button.disabled = false;
    }
  };

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.confirm && !confirm(form.dataset.confirm)) return event.preventDefault();
    if (!form.dataset.api) return;
    event.preventDefault();
    send(form);
  });

  /* Focus goes to what stood before, so that a keyboard finds itself where it was. */
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-remove]");
    const gone = button && button.closest(button.dataset.remove);
    if (!gone) return;
    const near = gone.nextElementSibling || gone.previousElementSibling || gone.parentElement.nextElementSibling;
    gone.remove();
    near?.querySelector("input:not([type=hidden]), select, textarea, button")?.focus();
  });

  /* ---------------------------------------------------------------- the box of the scanner */

  const box = () => document.querySelector("[data-keep-focus]");
  const wantsKeys = (element) => element && element.matches("input, textarea, select, button, summary, a[href], [contenteditable]");

  document.addEventListener("keydown", (event) => {
    const target = box();
    if (!target || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Escape") {
      target.value = "";
      return target.focus();
    }
    if (event.key.length === 1 && !(wantsKeys(document.activeElement) && document.activeElement.matches("input, textarea, select"))
        && !(event.key === " " && wantsKeys(document.activeElement))) target.focus();
  });

  document.addEventListener("htmx:afterRequest", (event) => {
    const form = event.target;
    const target = form.querySelector && form.matches("form") && form.querySelector("[data-keep-focus]");
    if (!target) return;
    target.placeholder = target.value || target.placeholder;
    target.value = "";
    target.focus();
  });

  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-print]")) print();
  });

  /* Onto the clipboard where the browser lets a page; else it is selected, for the keys that copy. */
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    const source = button && document.getElementById(button.dataset.copy);
    if (!source) return;
    try {
      await navigator.clipboard.writeText(source.textContent);
      tell("Copied.");
    } catch {
      getSelection().selectAllChildren(source);
      tell("It is selected: copy it by its keys.");
    }
  });

  /* A live part that could not be asked for anew stays as it is: a gate's display is never empty. So does one of
     which the answer says nothing new: what a person opened in it stays open, and nothing is drawn for nothing. */
  const LIVE = '[hx-trigger*="sse:"]';
  const answerOf = new WeakMap();
  const OLD = "What is shown may be old: it could not be asked for anew.";
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { elt, target, xhr } = event.detail;
    if (elt !== target || !elt.matches(LIVE)) return;
    if (xhr.status >= 400) {
      event.detail.shouldSwap = false;
      return tell(OLD);
    }
    if (document.getElementById("told").textContent === OLD) tell("");
    if (answerOf.get(elt) === xhr.responseText) event.detail.shouldSwap = false;
    answerOf.set(elt, xhr.responseText);
  });

  /* A part's element goes when its answer replaces it, and what it was told while it was asked for: the new one
     asks again. So does every part once there is news again after a break. */
  const askAgain = (part) => htmx.trigger(part, part.getAttribute("hx-trigger").match(/sse:[\w-]+/)[0]);
  const toldLate = new Set();
  document.addEventListener("htmx:sseMessage", ({ target }) => {
    if (target.id && target.classList.contains("htmx-request")) toldLate.add(target.id);
  });
  document.addEventListener("htmx:load", ({ target }) => {
    if (toldLate.delete(target.id) && target.matches(LIVE)) askAgain(target);
  });

  document.addEventListener("htmx:sendError", () => tell("The server does not answer; what is shown may be old."));
  document.addEventListener("htmx:sseError", () => document.body.classList.add("offline"));
  document.addEventListener("htmx:sseOpen", () => {
    if (document.body.classList.contains("offline")) document.querySelectorAll(LIVE).forEach(askAgain);
    document.body.classList.remove("offline");
  });
})();
