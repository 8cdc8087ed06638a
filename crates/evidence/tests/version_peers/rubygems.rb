# Orders pairs of versions with Gem::Version.
STDIN.each_line(chomp: true) do |line|
  a, b = line.split("\t", -1)
  good = Gem::Version.correct?(a) && Gem::Version.correct?(b)
  puts good ? "<=>"[(Gem::Version.new(a) <=> Gem::Version.new(b)) + 1] : "!"
end
