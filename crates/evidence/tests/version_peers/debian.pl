# Orders pairs of versions with Dpkg::Version, dpkg's own Perl library. One process for all; dpkg itself takes one for each pair.
use strict; use warnings; use Dpkg::Version;

# The library reads more than dpkg: a colon in the revision, and one that ends no number.
sub readable {
    my ($version) = @_;
    return 0 if $version =~ /^([^:]*):/ && $1 !~ /^[0-9]+$/;
    return scalar(version_check($version)) && $version !~ /-[^-]*:[^-]*$|:$/;
}

while (my $line = <STDIN>) {
    chomp $line;
    my ($left, $right) = split /\t/, $line, -1;
    if (!readable($left) || !readable($right)) {
        print "!\n";
        next;
    }
    print(("<", "=", ">")[version_compare($left, $right) + 1], "\n");
}
