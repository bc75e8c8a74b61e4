// Keeps a page current: asks the server every few seconds, and greys the numbers out while it does not answer.
(() => {
  const EVERY_MS = 5000, main = document.querySelector("main"), sign = document.getElementById("alive");
  const is_board = location.pathname === "/";
  let last = performance.now();
  const renew = text => {
    const stops = () => [...main.querySelectorAll("a, button, input, summary, [tabindex]")];
    const place = stops().indexOf(document.activeElement);
    main.replaceChildren(...new DOMParser().parseFromString(text, "text/html").querySelector("main").childNodes);
    stops()[place]?.focus({preventScroll: true});
  };
  const ask = async () => {
    try {
      const headers = {Accept: is_board ? "text/html" : "application/json"}, signal = AbortSignal.timeout(2 * EVERY_MS);
      const answer = await fetch(is_board ? "/" : "/alive", {headers, signal});
      if (!answer.ok) throw new Error(answer.status);
      const is_copying = main.contains(getSelection().anchorNode) && !getSelection().isCollapsed;
      if (is_board && !is_copying) renew(await answer.text());
      last = performance.now();
      document.body.classList.remove("lost");
      sign.textContent = is_board && is_copying ? "Not renewed while text is selected." : "";
    } catch {
      document.body.classList.add("lost");
      sign.textContent = `No answer from the server for ${Math.round((performance.now() - last) / 1000)} seconds: these numbers are old.`;
    }
  };
  setInterval(ask, EVERY_MS);
})();
