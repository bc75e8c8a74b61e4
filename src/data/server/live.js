// Keeps a page current: asks the server every few seconds, and greys the numbers out while it does not answer.
(() => {
  const EVERY_MS = 5000, main = document.querySelector("main"), sign = document.getElementById("alive");
  const is_board = location.pathname === "/";
  let last = Date.now();
  const ask = async () => {
    try {
      const answer = await fetch(is_board ? "/" : "/alive", {headers: {Accept: is_board ? "text/html" : "application/json"}});
      if (!answer.ok) throw new Error(answer.status);
      if (is_board && !main.contains(document.activeElement)) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        main.replaceChildren(...page.querySelector("main").childNodes);
      }
      last = Date.now();
      document.body.classList.remove("lost");
      sign.textContent = "";
    } catch {
      document.body.classList.add("lost");
      sign.textContent = `No answer from the server for ${Math.round((Date.now() - last) / 1000)} seconds: these numbers are old.`;
    }
  };
  setInterval(ask, EVERY_MS);
})();
