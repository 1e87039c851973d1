// What is live: pages that show what changes load themselves anew once nothing new has come for a moment, and the log of a run
// grows while it runs. Nothing is typed on these pages.
const soon = (deed) => {
  let timer;
  return () => { clearTimeout(timer); timer = setTimeout(deed, 500); };
};
if (document.querySelector("[data-live]")) {
  const news = new EventSource("/v1/admin/events");
  const again = soon(() => location.reload());
  news.addEventListener("run", again);
  news.addEventListener("known", again);
}
const log = document.querySelector("[data-run]");
if (log) {
  const run = log.dataset.run;
  const events = new EventSource(`/v1/admin/runs/${run}/events`);
  events.addEventListener("said", soon(async () => {
    const answer = await fetch(`/runs/${run}/log`);
    if (answer.ok && !answer.redirected) log.innerHTML = await answer.text();
  }));
  if (log.dataset.status === "queued") {
    const look = async () => {
      const answer = await fetch(`/v1/admin/runs/${run}`);
      if (answer.ok && (await answer.json()).status !== "queued") location.reload();
    };
    const news = new EventSource("/v1/admin/events");
    news.addEventListener("open", look);
    news.addEventListener("run", look);
  }
  events.addEventListener("end", () => { events.close(); location.reload(); });
}
