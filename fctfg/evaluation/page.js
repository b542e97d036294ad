"use strict";
// Players of one clip go together: the first leads, the others are set right when they stray by more than a frame.
const STRAY = 0.04;

for (const clip of document.querySelectorAll(".clip")) {
  const videos = [...clip.querySelectorAll("video")];
  if (!videos.length) continue;
  const radios = [...clip.querySelectorAll("input[type=radio]")];
  const button = clip.querySelector(".play"), seek = clip.querySelector(".seek"), time = clip.querySelector(".time");
  const plots = [...clip.querySelectorAll(".plot")].filter(plot => plot.querySelector(".now"));
  const usable = () => videos.filter(video => !video.error && video.readyState > 0);
  const leader = () => usable().reduce((one, other) => !one || other.duration > one.duration ? other : one, null);
  let playing = false;

  videos.forEach((video, number) => {
    const broken = () => video.closest("figure").querySelector("label").classList.add("broken");
    video.addEventListener("error", broken);
    video.addEventListener("loadedmetadata", () => { if (!video.videoWidth) broken(); });
    radios[number].addEventListener("change", () => videos.forEach(other => { other.muted = other !== video; }));
  });
  // What is generated is heard, not what it should be.
  const heard = Math.min(1, videos.length - 1);
  radios[heard].checked = true;

  const show = () => {
    const first = leader();
    if (!first) return;
    const now = first.currentTime;
    if (document.activeElement !== seek || playing) seek.value = first.duration ? now / first.duration : 0;
    time.textContent = now.toFixed(2) + " s";
    for (const plot of plots) {
      const { first: from, last, left, right } = plot.dataset;
      const share = Math.min(1, Math.max(0, (now - from) / (last - from)));
      const x = Number(left) + share * (right - left), line = plot.querySelector(".now");
      line.setAttribute("x1", x); line.setAttribute("x2", x);
    }
  };
  const step = () => {
    const first = leader();
    if (!playing || !first) return;
    for (const video of usable()) {
      const there = Math.min(first.currentTime, video.duration);
      if (video !== first && !video.seeking && Math.abs(video.currentTime - there) > STRAY) video.currentTime = there;
    }
    show();
    if (first.ended) { stop(); return; }
    requestAnimationFrame(step);
  };
  const stop = () => {
    playing = false;
    videos.forEach(video => video.pause());
    button.textContent = "Play";
  };
  const start = async () => {
    for (const other of document.querySelectorAll(".clip")) if (other !== clip) other.dispatchEvent(new Event("halt"));
    const first = leader();
    if (first && first.ended) videos.forEach(video => { video.currentTime = 0; });
    videos.forEach((video, number) => { video.muted = !radios[number].checked; });
    playing = true;
    button.textContent = "Pause";
    await Promise.allSettled(videos.map(video => video.play()));
    requestAnimationFrame(step);
  };
  clip.addEventListener("halt", () => { if (playing) stop(); });
  button.addEventListener("click", () => playing ? stop() : start());
  seek.addEventListener("input", () => {
    const first = leader();
    if (!first) return;
    for (const video of usable()) video.currentTime = Math.min(seek.value * first.duration, video.duration);
    show();
  });
  clip.querySelector(".speed").addEventListener("change", event => {
    videos.forEach(video => { video.playbackRate = Number(event.target.value); });
  });
  videos.forEach(video => video.addEventListener("seeked", show));
}

const order = document.getElementById("order"), clips = document.getElementById("clips");
order.addEventListener("change", () => {
  const key = "order" + (order.value === "all" ? "All" : "-" + order.value);
  [...clips.children].sort((one, other) => one.dataset[key] - other.dataset[key]).forEach(clip => clips.append(clip));
});
