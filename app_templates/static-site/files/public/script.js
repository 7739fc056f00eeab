"use strict";

// Greets by the visitor's own clock.
const hour = new Date().getHours();
const greeting = hour < 5 ? "Good night" : hour < 12 ? "Good morning" : hour < 18 ? "Good afternoon" : "Good evening";
document.getElementById("greeting").textContent = greeting;
