/* Check many and Work: code after code from a scanner that types, or from a person, in their order.

   Each line comes from the server, above those before. A line's tone is told three times: by its
   word, its colour and a sound. */
(() => {
  "use strict";

  const form = document.getElementById("scan");
  const box = document.getElementById("box");
  const lines = document.getElementById("lines");
  const byId = (id) => document.getElementById(id);

  /* ------------------------------------------------------------------------------- sounds */

  let audio;
  const beep = (tone) => {
    if (!byId("sound").checked) return;
    try {
      audio ??= new AudioContext();
      const plan = { go: [[1200, 0, 0.06]], look: [[600, 0, 0.12]], stop: [[220, 0, 0.25], [220, 0.35, 0.25]] }[tone] || [];
      for (const [hertz, after, seconds] of plan) {
        const tone = audio.createOscillator();
        tone.frequency.value = hertz;
        tone.connect(audio.destination);
        tone.start(audio.currentTime + after);
        tone.stop(audio.currentTime + after + seconds);
      }
    } catch { /* no loudspeaker: word and colour say it */ }
  };

  /* ------------------------------------------------------------------------------- counts */

  const seen = new Set();
  const count = () => {
    const all = [...lines.children];
    byId("count").textContent = all.length;
    for (const tone of ["stop", "look"]) {
      byId(`count-${tone}`).textContent = all.filter((line) => line.dataset.tone === tone).length;
    }
    byId("count-again").textContent = all.filter((line) => line.dataset.again).length;
  };

  const show = (html) => {
    const part = document.createElement("template");
    part.innerHTML = html; // from our own server, every value escaped
    const come = [...part.content.querySelectorAll("li")];
    for (const line of [...come].reverse()) {
      if (seen.has(line.dataset.key)) {
        line.dataset.again = "yes";
        const mark = document.createElement("span");
        mark.className = "mark";
        mark.textContent = "scanned before";
        line.querySelector(".word").after(mark);
      }
      seen.add(line.dataset.key);
    }
    lines.prepend(...come);
    for (const line of come) htmx.process(line);
    const loudest = ["stop", "look", "go"].find((tone) => come.some((line) => line.dataset.tone === tone));
    if (loudest) beep(loudest);
    count();
    return come;
  };

  document.addEventListener("htmx:afterSwap", count);

  /* A scanner types a code within some tens of milliseconds; nobody does that by hand. */
  const HAND_MS_PER_KEY = 40;
  let first = 0, keys = 0;
  box.addEventListener("keydown", (event) => {
    if (event.key.length !== 1) return;
    if (box.value === "") { first = event.timeStamp; keys = 0; }
    keys += 1;
  });
  const isScanned = (event) => keys >= 4 && keys >= box.value.trim().length && (event.timeStamp - first) / keys < HAND_MS_PER_KEY;

  const tell = (text) => { byId("running").textContent = text; };

  const ask = async (path, options = {}) => {
    const answer = await fetch(path, { credentials: "same-origin", ...options });
    if (answer.status === 401 || answer.redirected) {
      location.assign(`/page/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
      throw new Error("signed out");
    }
    return answer;
  };

  /* One after the other, in the order in which they were scanned. */
  let last = Promise.resolve();
  const inTurn = (work) => {
    last = last.then(work).catch((error) => refuse(`${error.message}: scan it again`));
    return last;
  };

  const refuse = (text) => {
    const told = byId("refused") || byId("running");
    told.textContent = text;
    beep("stop");
  };

  /* -------------------------------------------------------------------------------- check */

  const check = async (codes) => {
    const most = Number(form.dataset.check);
    for (let begin = 0; begin < codes.length; begin += most) {
      const some = codes.slice(begin, begin + most);
      if (codes.length > most) tell(`${begin} of ${codes.length}`);
      const answer = await ask("/page/check/lines", {
        method: "POST",
        headers: { "Content-Type": "application/x-www-form-urlencoded", "HX-Request": "true" },
        body: new URLSearchParams({ codes: some.join("\n") }),
      });
      const text = await answer.text();
      if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
      show(text);
      byId("codes").value += some.join("\n") + "\n";
      byId("export").querySelector("button").disabled = false;
    }
    tell("");
  };

  /* --------------------------------------------------------------------------------- work */

  const CONTEXT = ["location", "order", "rma", "parent"];
  const setContext = (kind, value) => {
    byId(kind).value = value;
    tell(`${kind === "parent" ? "inside" : kind}: ${value}`);
    beep("go");
  };

  const work = async (code, at, scanned, confirmed = false) => {
    byId("refused").textContent = "";
    const station = form.dataset.work;
    const asked = await ask(`/page/work/code?${new URLSearchParams({ code, station })}`);
    const { kind, value } = await asked.json();
    if (kind !== "unit") return setContext(kind, value);
    const parent = byId("parent");
    if ("into" in form.dataset && !parent.value) return setContext("parent", code);
    const body = { code, station, at, scanned, confirmed };
    for (const name of CONTEXT) {
      if (byId(name)?.value.trim()) body[name] = byId(name).value.trim();
    }
    const answer = await ask("/keyed", {
      method: "POST",
      headers: { "Content-Type": "application/json", "Idempotency-Key": `${station} ${at} ${code}`.replace(/[^\x20-\x7e]/g, "_").slice(0, 200) },
      body: JSON.stringify(body),
    });
    const told = await answer.json();
    if (answer.status === 409 && told.candidates) return near(code, at, told.candidates);
    if (!answer.ok) return refuse(told.detail || told.title);
    const query = new URLSearchParams({ unit: told.unit, event: told.event_id, code });
    const line = await ask(`/page/work/line?${query}`, { headers: { "HX-Request": "true" } });
    show(await line.text());
  };

  /* What was typed is near to units that are known: the right one, or that it is right. */
  const near = (code, at, candidates) => {
    const told = byId("refused");
    told.replaceChildren(`${code} was never seen, and is near to `);
    const choices = [...candidates.map((key) => [key, () => work(key, at, false, true)]), [`it is ${code}`, () => work(code, at, false, true)]];
    for (const [word, choose] of choices) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "quiet";
      button.textContent = word;
      button.addEventListener("click", () => { told.textContent = ""; box.focus(); inTurn(choose); });
      told.append(button, " ");
    }
    told.querySelector("button").focus();
    beep("look");
  };

  byId("forget")?.addEventListener("click", () => {
    for (const name of CONTEXT) if (byId(name)) byId(name).value = "";
    box.focus();
  });

  document.addEventListener("scantrail:done", (event) => {
    const line = event.target.closest("li");
    if (line) htmx.trigger(line, "refresh");
    box.focus();
  });

  /* ---------------------------------------------------------------------------------- box */

  const take = (event) => {
    event.preventDefault();
    const codes = box.value.split(/[\r\n]+/).map((code) => code.trim()).filter(Boolean);
    const scanned = isScanned(event);
    box.value = "";
    box.focus();
    if (!codes.length) return;
    if ("check" in form.dataset) return inTurn(() => check(codes));
    for (const code of codes) {
      const at = new Date().toISOString();
      inTurn(() => work(code, at, scanned));
    }
  };
  form.addEventListener("submit", take);
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && box.tagName === "TEXTAREA") take(event);
  });
})();
