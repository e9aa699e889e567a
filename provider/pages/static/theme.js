// The theme of Airflow's UI, which keeps it in this browser. No module: it must be known before anything is painted.
(() => {
  const follow = () => {
    let theme = null;
    try { theme = localStorage.getItem("theme"); } catch { /* a browser that keeps nothing */ }
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme; // as the system has it: the style sheet asks
  };
  follow();
  addEventListener("storage", (event) => { if (event.key === "theme" || event.key === null) follow(); });
})();
