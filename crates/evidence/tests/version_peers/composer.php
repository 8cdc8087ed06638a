<?php
// Orders pairs of versions with composer/semver.
require "Composer/Semver/autoload.php";
$parser = new Composer\Semver\VersionParser();
while (($line = fgets(STDIN)) !== false) {
    [$a, $b] = explode("\t", rtrim($line, "\n"));
    try {
        [$a, $b] = [$parser->normalize($a), $parser->normalize($b)];
        $branch = str_starts_with($a, "dev-") || str_starts_with($b, "dev-");
        $less = Composer\Semver\Comparator::lessThan($a, $b);
        echo $branch ? "!" : ($less ? "<" : (Composer\Semver\Comparator::equalTo($a, $b) ? "=" : ">")), "\n";
    } catch (UnexpectedValueException) {
        echo "!\n";
    }
}
