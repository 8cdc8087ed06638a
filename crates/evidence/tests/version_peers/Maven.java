import java.io.BufferedReader;
import java.io.InputStreamReader;
import org.apache.maven.artifact.versioning.ComparableVersion;

/** Orders pairs of versions with Maven's ComparableVersion. */
class Maven {
    public static void main(String[] arguments) throws Exception {
        var in = new BufferedReader(new InputStreamReader(System.in));
        var out = new StringBuilder();
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            var pair = line.split("\t", -1);
            int order = new ComparableVersion(pair[0]).compareTo(new ComparableVersion(pair[1]));
            out.append("<=>".charAt(Integer.signum(order) + 1)).append('\n');
        }
        System.out.print(out);
    }
}
