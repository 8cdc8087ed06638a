// Orders pairs of versions with the library `semver` of npm.
const semver = require("semver");
const lines = require("fs").readFileSync(0, "utf8").split("\n").filter((line) => line);
const order = (line) => {
  const [a, b] = line.split("\t");
  return semver.valid(a) && semver.valid(b) ? "<=>"[semver.compare(a, b) + 1] : "!";
};
console.log(lines.map(order).join("\n"));
