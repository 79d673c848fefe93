"use strict";
// Checks the signed line behind "#" of a receipt's address and shows it. Nothing of it is sent anywhere: only the id of its key
// is asked of the office, if there is a network. The line is made by billing/compact_receipt.py, where its keys are explained.
(() => {
  const TYP = "receipt+jws", MAX_CHARS = 1400, ASK_MS = 8000;
  const KINDS = { e: "energy", t: "time", f: "flat", p: "parking", l: "limit" };
  const UNITS = { e: "kWh", t: "min", f: "", p: "min", l: "" };
  const WORDS = {
    en: {
      title: "Receipt, checked on your phone", empty: "There is no signed receipt in this address. Please scan the code on the charger again.",
      good: "The signature is good: nobody has changed this receipt since the charger signed it.",
      known: "The key belongs to charger {0} of this operator.",
      unknown: "Beware: this operator does not know the key. Anybody could have made this receipt.",
      unasked: "Whose key it is could not be asked now. Compare its fingerprint with the label on the charger.",
      bad: "Beware: the signature does NOT fit. This receipt was changed, or the code was not read well.",
      broken: "This is not a receipt of a charger ({0}).",
      helpless: "This browser cannot check signatures here: it does so only on encrypted (https) pages.",
      energy: "Energy", time: "Charging time", flat: "Session", parking: "Time after charging", limit: "Price limit", total: "Total",
      vat: "VAT {0} %", no_vat: "without VAT", number: "Receipt", evse: "Charge point", start: "Start", end: "End",
      clock: "The clock was not synchronised; times are informative.", registers: "Registers", held: "Held", taken: "To be charged",
      record: "Record", hash: "SHA-256 begins", ocmf: "Measurement (SHA-256 begins)", key: "Key fingerprint (RFC 7638)", terminal: "Terminal",
      later: "What became of the payment later stands on the receipt page.",
    },
    de: {
      title: "Beleg, auf Ihrem Telefon geprüft", empty: "In dieser Adresse steht kein signierter Beleg. Bitte scannen Sie den Code an der Ladestation noch einmal.",
      good: "Die Signatur stimmt: Seit die Ladestation diesen Beleg signiert hat, hat ihn niemand verändert.",
      known: "Der Schlüssel gehört zur Ladestation {0} dieses Betreibers.",
      unknown: "Vorsicht: Dieser Betreiber kennt den Schlüssel nicht. Jeder könnte diesen Beleg gemacht haben.",
      unasked: "Wem der Schlüssel gehört, konnte jetzt nicht gefragt werden. Vergleichen Sie den Fingerabdruck mit dem Schild der Ladestation.",
      bad: "Vorsicht: Die Signatur stimmt NICHT. Dieser Beleg wurde verändert, oder der Code wurde nicht richtig gelesen.",
      broken: "Das ist kein Beleg einer Ladestation ({0}).",
      helpless: "Dieser Browser kann hier keine Signaturen prüfen: er tut es nur auf verschlüsselten Seiten (https).",
      energy: "Energie", time: "Ladezeit", flat: "Ladevorgang", parking: "Zeit nach dem Laden", limit: "Preisgrenze", total: "Summe",
      vat: "USt. {0} %", no_vat: "ohne USt.", number: "Beleg", evse: "Ladepunkt", start: "Beginn", end: "Ende",
      clock: "Die Uhr war nicht synchronisiert; Zeiten sind informativ.", registers: "Zählerstände", held: "Reserviert", taken: "Abzubuchen",
      record: "Datensatz", hash: "SHA-256 beginnt", ocmf: "Messung (SHA-256 beginnt)", key: "Fingerabdruck des Schlüssels (RFC 7638)", terminal: "Terminal",
      later: "Was später aus der Zahlung wurde, steht auf der Belegseite.",
    },
  };

  class Broken extends Error {}

  function bytesOf(text) {
    if (!/^[A-Za-z0-9_-]+$/.test(text) || text.length % 4 === 1) throw new Broken("base64url");
    return Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (sign) => sign.charCodeAt(0));
  }

  function textOf(bytes) {
    return btoa(String.fromCharCode(...new Uint8Array(bytes))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  }

  function objectOf(text) {
    let found;
    try {
      found = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytesOf(text)));
    } catch (error) {
      throw error instanceof Broken ? error : new Broken("JSON");
    }
    if (found === null || typeof found !== "object" || Array.isArray(found)) throw new Broken("object");
    return found;
  }

  const isCount = (value) => Number.isSafeInteger(value) && value >= 0;
  const isText = (value) => typeof value === "string" && value.length <= 200;

  /* What must be there to be shown; a signature over nonsense is still nonsense. */
  function checkShape(receipt) {
    const good = [receipt.n, receipt.m, receipt.s, receipt.e, receipt.k, receipt.d].every(isText)
      && [receipt.b, receipt.t, receipt.q].every(isCount) && Number.isSafeInteger(receipt.a) && /^[A-Z]{3}$/.test(receipt.c)
      && Array.isArray(receipt.r) && receipt.r.length === 2 && receipt.r.every(isCount)
      && Array.isArray(receipt.l) && receipt.l.length <= 40 && receipt.l.every((one) => isText(one) && /^[etfpl] \S+ \S+ \S+ -?\d+$/.test(one))
      && Array.isArray(receipt.v) && receipt.v.length <= 10 && receipt.v.every((one) => isText(one) && /^\S+ -?\d+$/.test(one))
      && (receipt.h === undefined || (Array.isArray(receipt.h) && receipt.h.length === 2 && receipt.h.every(isCount)));
    if (!good) throw new Broken("content");
  }

  /* {receipt, keyId, good}. Broken if it is no compact receipt at all. */
  async function open(line) {
    if (line.length > MAX_CHARS) throw new Broken("length");
    const parts = line.split(".");
    if (parts.length !== 3) throw new Broken("parts");
    const header = objectOf(parts[0]), receipt = objectOf(parts[1]), signature = bytesOf(parts[2]);
    const jwk = header.jwk;
    if (Object.keys(header).sort().join() !== "alg,jwk,typ" || header.alg !== "ES256" || header.typ !== TYP) throw new Broken("header");
    if (jwk === null || typeof jwk !== "object" || jwk.kty !== "EC" || jwk.crv !== "P-256" || !isText(jwk.x) || !isText(jwk.y)) throw new Broken("key");
    const plain = { crv: "P-256", kty: "EC", x: jwk.x, y: jwk.y };
    const keyId = textOf(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(JSON.stringify(plain))));
    let good = false;
    try {
      const key = await crypto.subtle.importKey("jwk", plain, { name: "ECDSA", namedCurve: "P-256" }, false, ["verify"]);
      const signed = new TextEncoder().encode(`${parts[0]}.${parts[1]}`);
      good = signature.length === 64 && await crypto.subtle.verify({ name: "ECDSA", hash: "SHA-256" }, key, signature, signed);
    } catch (error) {
      throw new Broken("key");
    }
    if (good) checkShape(receipt);
    return { receipt, keyId, good };
  }

  /* The terminal whose key it is, "" if the office does not know it, null if nobody could be asked. */
  async function owner(keyId) {
    const stop = new AbortController();
    const timer = setTimeout(() => stop.abort(), ASK_MS);
    try {
      const answer = await fetch(`/keys/${keyId}.json`, { signal: stop.signal, cache: "no-store" });
      if (answer.status === 404) return "";
      return answer.ok ? String((await answer.json()).terminal) : null;
    } catch (error) {
      return null;
    } finally {
      clearTimeout(timer);
    }
  }

  globalThis.compactReceipt = { open, owner };
  if (typeof document === "undefined") return;

  const language = (navigator.language || "en").slice(0, 2) === "de" ? "de" : "en";
  const t = WORDS[language];
  const say = (text, ...figures) => text.replace(/\{(\d)\}/g, (_, place) => figures[place]);

  function put(parent, tag, text, look) {
    const made = document.createElement(tag);
    if (text) made.textContent = text;
    if (look) made.className = look;
    parent.appendChild(made);
    return made;
  }

  function money(minor, currency) {
    const form = new Intl.NumberFormat(language, { style: "currency", currency });
    return form.format(minor / 10 ** form.resolvedOptions().maximumFractionDigits);
  }

  const local = (text) => (language === "de" ? text.replace(".", ",") : text);
  const kwh = (wh) => `${local((wh / 1000).toFixed(3))} kWh`;
  const moment = (seconds) => new Date(seconds * 1000).toLocaleString(language, { dateStyle: "medium", timeStyle: "long" });

  function draw(place, { receipt, keyId }) {
    put(place, "p", receipt.s, "seller");
    put(place, "p", money(receipt.a, receipt.c), "total");
    put(place, "p", kwh(receipt.r[1] - receipt.r[0]), "energy");
    const table = put(put(place, "table", "", "lines"), "tbody");
    const line = (name, below, sum, look) => {
      const cells = put(table, "tr", "", look), first = put(cells, "td", name);
      if (below) { put(first, "br"); put(first, "span", below, "quiet"); }
      put(cells, "td", sum, "sum");
    };
    for (const one of receipt.l) {
      const [kind, quantity, price, vat, gross] = one.split(" ");
      const rate = vat === "-" ? t.no_vat : say(t.vat, local(vat));
      line(t[KINDS[kind]], `${local(quantity)} ${UNITS[kind]} × ${local(price)} ${receipt.c}, ${rate}`, money(Number(gross), receipt.c));
    }
    line(t.total, "", money(receipt.a, receipt.c), "grand");
    for (const one of receipt.v) {
      const [rate, sum] = one.split(" ");
      if (rate !== "-") line(say(t.vat, local(rate)), "", money(Number(sum), receipt.c));
    }
    const list = put(place, "dl");
    const fact = (name, value, look) => { put(list, "dt", name); put(list, "dd", value, look); };
    fact(t.number, receipt.n);
    fact(t.terminal, receipt.m);
    fact(t.evse, receipt.e);
    fact(t.start, moment(receipt.b));
    fact(t.end, moment(receipt.t));
    fact(t.registers, `${kwh(receipt.r[0])} – ${kwh(receipt.r[1])}`);
    if (receipt.h) { fact(t.held, money(receipt.h[0], receipt.c)); fact(t.taken, money(receipt.h[1], receipt.c)); }
    const hex = (text) => [...bytesOf(text)].map((one) => one.toString(16).padStart(2, "0")).join("");
    fact(t.record, String(receipt.q));
    fact(t.hash, hex(receipt.d), "code");
    if (isText(receipt.o)) fact(t.ocmf, hex(receipt.o), "code");
    fact(t.key, keyId, "code");
    if (receipt.k !== "S") put(place, "p", t.clock, "quiet");
    put(place, "p", t.later, "quiet");
  }

  async function show() {
    const place = document.getElementById("compact"), line = location.hash.slice(1);
    if (!place || (!line && place.hidden)) return;
    place.hidden = false;
    place.replaceChildren();
    document.documentElement.lang = language;
    put(place, "h1", t.title);
    const verdict = put(place, "p", "", "badge wait");
    const judge = (text, look) => { verdict.textContent = text; verdict.className = `badge ${look}`; };
    if (!line) return judge(t.empty, "wait");
    if (!globalThis.crypto || !crypto.subtle) return judge(t.helpless, "wait");
    let found;
    try {
      found = await open(line);
    } catch (error) {
      return judge(say(t.broken, error instanceof Broken ? error.message : "?"), "bad");
    }
    if (!found.good) return judge(t.bad, "bad");
    judge(t.good, "good");
    const whose = put(place, "p", "", "badge wait");
    draw(place, found);
    const terminal = await owner(found.keyId);
    const known = terminal !== null && terminal !== "" && terminal === found.receipt.m;
    whose.textContent = terminal === null ? t.unasked : known ? say(t.known, terminal) : t.unknown;
    whose.className = `badge ${terminal === null ? "wait" : known ? "good" : "bad"}`;
  }

  addEventListener("hashchange", show);
  show();
})();
