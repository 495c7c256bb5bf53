// A session in words.
export function words(session) {
  const { profile } = session.answer;
  if (session.left === null) return profile;
  return session.left > 0 ? `${profile} · ${timeInWords(session.left)} left` : "The time is over";
}

// '2 d 3 h', '3 h 12 min', '14 min', '45 s': never more than there is.
export function timeInWords(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  const [days, hours] = [Math.floor(minutes / 1440), Math.floor(minutes / 60) % 24];
  if (days) return hours ? `${days} d ${hours} h` : `${days} d`;
  if (!hours) return `${minutes} min`;
  return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
}
