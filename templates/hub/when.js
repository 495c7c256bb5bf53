// An expected start in words, by the clock of whoever reads.
function labkitWhen(element, words, iso) {
  if (!iso) {
    element.textContent = words;
    element.removeAttribute("datetime");
    return;
  }
  const start = new Date(iso), now = new Date();
  const days = Math.round((new Date(start).setHours(0, 0, 0, 0) - new Date(now).setHours(0, 0, 0, 0)) / 864e5);
  const clock = "about " + start.toLocaleTimeString([], {hour: "2-digit", minute: "2-digit", hourCycle: "h23"});
  const near = start - now <= 60000 ? "now" : days === 0 ? clock : "tomorrow, " + clock;
  element.textContent = days > 1 ? "in " + days + " days" : near;
  element.setAttribute("datetime", iso);
}
