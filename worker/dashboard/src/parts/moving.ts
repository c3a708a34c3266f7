// Lets things glide to their new place: where each was is noted before a
// change, and the way from there is played backwards (FLIP).
import { useLayoutEffect, useRef } from "preact/hooks";

const GLIDE_MS = 450;
const still = matchMedia("(prefers-reduced-motion: reduce)");

/** For a container of elements that carry `data-moves="name"`. */
export function useMoving<T extends HTMLElement>() {
  const container = useRef<T>(null);
  const places = useRef(new Map<string, DOMRect>());
  useLayoutEffect(() => {
    const before = places.current;
    const after = new Map<string, DOMRect>();
    const moved: [HTMLElement, number, number][] = [];
    for (const element of container.current?.querySelectorAll<HTMLElement>("[data-moves]") ?? []) {
      const name = element.dataset.moves!;
      const place = element.getBoundingClientRect();
      // Where it is on the page, however far that is scrolled.
      const onPage = new DOMRect(place.x + scrollX, place.y + scrollY, place.width, place.height);
      const was = before.get(name);
      after.set(name, onPage);
      if (was && (Math.abs(was.x - onPage.x) > 2 || Math.abs(was.y - onPage.y) > 2)) {
        moved.push([element, was.x - onPage.x, was.y - onPage.y]);
      }
    }
    places.current = after;
    if (still.matches) return;
    for (const [element, x, y] of moved) {
      element.animate([{ transform: `translate(${x}px, ${y}px)`, zIndex: 2 }, { transform: "none" }], {
        duration: GLIDE_MS,
        easing: "cubic-bezier(.2,.8,.2,1)",
      });
    }
  });
  return container;
}
