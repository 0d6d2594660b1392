(name) => {
  // Around the frame: its height as it asks for, and whether what is around it is dark.
  const frame = document.getElementById(name);
  if (!frame) return;
  const luminance = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const parts = getComputedStyle(at).backgroundColor.match(/[\d.]+/g)?.map(Number) ?? [];
      if (parts.length < 3 || parts[3] === 0) continue; // transparent: look further out
      return (0.299 * parts[0] + 0.587 * parts[1] + 0.114 * parts[2]) / 255;
    }
    return null;
  };
  let told = null;
  const tell = (again) => {
    const light = luminance(frame);
    const theme = light === null ? "" : light < 0.5 ? "dark" : "light";
    if (again !== true && theme === told) return;
    told = theme;
    frame.contentWindow?.postMessage({ trace: "theme", theme }, "*");
  };
  const listen = (event) => {
    if (!frame.isConnected) return removeEventListener("message", listen);
    if (event.source !== frame.contentWindow || event.data?.trace !== "size") return;
    const height = Number(event.data.height);
    if (Number.isFinite(height)) frame.style.height = `${Math.max(320, Math.min(900, Math.ceil(height)))}px`;
    if (event.data.first) tell(true);
  };
  addEventListener("message", listen);
  const watch = new MutationObserver(() => (frame.isConnected ? setTimeout(tell, 60) : watch.disconnect()));
  for (const element of [document.documentElement, document.body]) watch.observe(element, { attributes: true });
}
