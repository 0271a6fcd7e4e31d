document.getElementById("root").textContent = "The pages are not built: run `npm run build` in web/.";
