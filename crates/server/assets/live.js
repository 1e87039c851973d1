// Pages that show what changes load themselves anew when the server says that there is news. Nothing is typed on them.
const live = document.querySelector("[data-live]");
if (live) {
  const news = new EventSource("/v1/admin/events");
  const again = () => location.reload();
  news.addEventListener("run", again);
  news.addEventListener("known", again);
}
