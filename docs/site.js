// What is wider than the screen scrolls by itself; so that the keyboard reaches it too, it takes the focus. And the
// theme puts the button to copy a block of code into a navigation of its own, which is none.
{
  const mend = () => {
    for (const part of document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset .math")) {
      if (part.scrollWidth > part.clientWidth) part.tabIndex = 0;
      else part.removeAttribute("tabindex");
    }
    for (const part of document.querySelectorAll("nav.md-code__nav")) part.setAttribute("role", "none");
  };
  addEventListener("load", mend);
  addEventListener("resize", mend);
  new MutationObserver(mend).observe(document.querySelector(".md-content"), { childList: true, subtree: true });
}
