"use strict";

// Greets by the visitor's own clock.
const hour = new Date().getHours();
const greeting = hour < 5 ? "Good night" : hour < 12 ? "Good morning" : hour < 18 ? "Good afternoon" : "Good evening";
// A page that is being rewritten may have no place for it any more.
const place = document.getElementById("greeting");
if (place) place.textContent = greeting;
