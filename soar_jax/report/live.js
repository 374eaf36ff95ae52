
// A served page reloads when the server has a newer version, unless a control or table has the focus.
const POLL_MS = 3000;
setInterval(async () => {
  const answer = await fetch("version").catch(() => null);
  if (!answer || !answer.ok) return;
  const now = await answer.text();
  const busy = document.activeElement && document.activeElement !== document.body;
  if (now !== document.body.dataset.version && !busy) location.reload();
}, POLL_MS);
