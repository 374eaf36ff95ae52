
// A page that is served looks for a newer one of itself; it does not jump while somebody is reading a table.
const POLL_MS = 3000;
setInterval(async () => {
  const answer = await fetch("version").catch(() => null);
  if (!answer || !answer.ok) return;
  const now = await answer.text();
  const busy = document.activeElement && document.activeElement !== document.body;
  if (now !== document.body.dataset.version && !busy) location.reload();
}, POLL_MS);
