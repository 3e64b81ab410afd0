/* What the page does itself. Everything it shows comes from the server; everything it changes goes
   to the API's own routes.

   <form data-api="POST /alerts/7/resolve" data-version="3" data-then="refresh #alert">
     sends its fields as JSON: `a.b` is a field of a field, data-as="list" a line each, "number",
     "yes" of a checkbox; empty fields are left out. data-version: the version that is changed.
     data-then: `refresh #id`, `go /address` ({id} is of the answer), `void`: nothing; without it
     the page anew. The event scantrail:done tells the answer.
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
      case "list": return text.split(/[\r\n]+/).map((line) => line.trim()).filter(Boolean);
      default: return text;
    }
  };

  const bodyOf = (form) => {
    const body = {};
    for (const field of form.elements) {
      if (!field.name || field.disabled || (field.type === "radio" && !field.checked)) continue;
      const told = value(field);
      if (told === undefined) continue;
      const path = field.name.split(".");
      const last = path.pop();
      let at = body;
      for (const part of path) at = at[part] ??= {};
      at[last] = told;
    }
    return body;
  };

  const tell = (text) => {
    const told = document.getElementById("told");
    if (told) told.textContent = text;
  };

  const refuse = (form, problem) => {
    let shown = form.querySelector(".refused");
    if (!shown) {
      shown = document.createElement("p");
      shown.className = "refused alert critical";
      shown.setAttribute("role", "alert");
      form.append(shown);
    }
    shown.textContent = problem.detail || problem.title || "It could not be done.";
    const field = problem.field && form.elements.namedItem(problem.field);
    if (field && field.focus) {
      field.setAttribute("aria-invalid", "true");
      field.focus();
    }
  };

  const then = (form, answer) => {
    const [what, where] = (form.dataset.then || "").split(" ");
    if (what === "refresh") return htmx.trigger(where, "refresh");
    if (what === "void") return undefined; // whoever listens shows it
    if (what === "go") {
      return location.assign(where.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(answer[name] ?? "")));
    }
    return location.reload();
  };

  /* A form that failed is sent again under its own key, so that nothing is done twice. */
  const keyOf = (form, body) => {
    if (form.sent !== body) {
      form.sent = body;
      form.key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
    }
    return form.key;
  };

  const send = async (form) => {
    const [method, path] = form.dataset.api.split(" ");
    const body = JSON.stringify(bodyOf(form));
    const headers = { "Content-Type": "application/json" };
    if (method === "POST") headers["Idempotency-Key"] = keyOf(form, body);
    if (form.dataset.version) headers["If-Match"] = `"${form.dataset.version}"`;
    const button = form.querySelector("button");
    if (button) button.disabled = true;
    try {
      const answer = await fetch(path, { method, headers, body, credentials: "same-origin" });
      const told = await answer.json().catch(() => ({}));
      if (answer.status === 401) return location.assign(`/page/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
      if (!answer.ok) return refuse(form, told);
      form.sent = undefined;
      form.querySelector(".refused")?.remove();
      tell(form.dataset.told || "Done.");
      form.dispatchEvent(new CustomEvent("scantrail:done", { bubbles: true, detail: told }));
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

  document.addEventListener("htmx:sendError", () => tell("The server does not answer; what is shown may be old."));
  document.addEventListener("htmx:sseError", () => document.body.classList.add("offline"));
  document.addEventListener("htmx:sseOpen", () => document.body.classList.remove("offline"));
})();
