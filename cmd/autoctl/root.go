package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// app is what every command shares: the streams and the options that all of them take.
type app struct {
	in       io.Reader
	out, err io.Writer
	output   string
	verbose  int
	quiet    bool
}

// execute runs one command line and returns the exit code.
func execute(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) int {
	forgetAmbient()
	a := &app{in: in, out: out, err: errw}
	root := newRoot(a) //nolint:contextcheck // commands get their context from cobra
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errw)
	err := root.ExecuteContext(ctx)
	return report(errw, err, a.json())
}

// forgetAmbient takes those of libpq's variables out of the environment that choose another server, or refuse one for what it is: a shell's PGSERVICE or
// PGTARGETSESSIONATTRS is meant for applications. Those that hold or name credentials stay, and create reads PGPORT, PGUSER and PGDATABASE.
func forgetAmbient() {
	for _, name := range []string{"PGSERVICE", "PGTARGETSESSIONATTRS", "PGOPTIONS", "PGREQUIREAUTH", "PGCHANNELBINDING", "PGHOST", "PGHOSTADDR"} {
		_ = os.Unsetenv(name) // fails for impossible names only
	}
}

func (a *app) json() bool { return a.output == "json" }

// terminal reports whether standard output is one.
func (a *app) terminal() bool { return isTerminal(a.out) }

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// newRoot builds the whole tree anew; nothing about commands is global, so that tests can make many.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "autoctl",
		Short: "Keeps PostgreSQL available",
		Long: `autoctl keeps PostgreSQL available: a monitor decides who the primary is, a keeper on every
node runs PostgreSQL and makes its node what the monitor asked for.

A command finds its target by --pgdata (a node or monitor on this machine) or by
--monitor (from anywhere). Start with "autoctl demo", or with "autoctl create monitor".`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.checkOutput() },
		Args:              usageArgs(cobra.NoArgs),
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Version:           version,
	}
	p := root.PersistentFlags()
	p.StringVar(&a.output, "output", "text", "print `text` or json")
	p.CountVarP(&a.verbose, "verbose", "v", "log more (twice: even more)")
	p.BoolVarP(&a.quiet, "quiet", "q", false, "log errors only")
	root.Flags().BoolP("version", "V", false, "print the version")
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(
		a.createCommand(), a.runCommand(), a.stopCommand(), a.reloadCommand(), a.statusCommand(), a.versionCommand(),
		a.showCommand(), a.watchCommand(), a.performCommand(), a.enableCommand(), a.disableCommand(),
		a.getCommand(), a.setCommand(), a.dropCommand(), a.configCommand(), a.explainCommand(),
		a.pauseCommand(), a.resumeCommand(), a.inspectCommand(), a.activateCommand(), a.demoCommand(),
	)
	return root
}

func (a *app) checkOutput() error {
	if a.output != "text" && a.output != "json" {
		bad := a.output
		a.output = "text"
		return fail(classUsage, "use --output text or --output json", "unknown output format %q", bad)
	}
	return nil
}

// parent is a command that only groups others: without one of them it prints its help, with an unknown one it fails.
func parent(use, short string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return unknownCommand(cmd, args[0])
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(children...)
	return cmd
}

func unknownCommand(cmd *cobra.Command, name string) error {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	hint := fmt.Sprintf("%q --help lists them: %s", cmd.CommandPath(), strings.Join(names, ", "))
	if near := nearest(name, names); near != "" {
		hint = fmt.Sprintf("did you mean %q?", cmd.CommandPath()+" "+near)
	}
	return fail(classUsage, hint, "unknown command %q for %q", name, cmd.CommandPath())
}

// usageArgs turns an argument check's complaint into one of class usage.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if !cmd.HasParent() && len(args) > 0 {
			return unknownCommand(cmd, args[0])
		}
		if err := check(cmd, args); err != nil {
			hint := "usage: " + cmd.UseLine()
			if i := cmd.ArgsLenAtDash(); i >= 0 && slices.ContainsFunc(args[i:], func(arg string) bool { return strings.HasPrefix(arg, "--") }) {
				hint += "\nwhat follows -- is no option: options come before it"
			}
			return fail(classUsage, hint, "%s: %w", what(cmd), err)
		}
		return nil
	}
}

// what names a command in an error, which begins with the program's name anyway.
func what(cmd *cobra.Command) string {
	return strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
}

// notNumber is what the flags' parser says of a value that is no whole number.
var notNumber = regexp.MustCompile(`^invalid argument "(.*)" for "(?:-., )?(--[a-z-]+)" flag: strconv\.\w+: parsing .*: (invalid syntax|value out of range)$`)

func flagError(cmd *cobra.Command, err error) error {
	if words := cmd.Flags().Args(); cmd.HasSubCommands() && len(words) > 0 {
		return unknownCommand(cmd, words[0]) // its options are not what is wrong
	}
	if m := notNumber.FindStringSubmatch(err.Error()); m != nil {
		return fail(classUsage, "", "%s: %s is %q: must be a whole number", what(cmd), m[2], m[1])
	}
	hint := fmt.Sprintf("%q lists the options", cmd.CommandPath()+" --help")
	if name, ok := strings.CutPrefix(err.Error(), "unknown flag: --"); ok {
		if near := nearest(name, flagNames(cmd)); near != "" {
			hint = fmt.Sprintf("did you mean --%s?", near)
		}
	}
	return fail(classUsage, hint, "%s: %w", what(cmd), err)
}

// leaf completes a command that does something: no package of ours prints usage, and arguments are checked.
func leaf(cmd *cobra.Command, args cobra.PositionalArgs) *cobra.Command {
	cmd.Args = usageArgs(args)
	cmd.DisableFlagsInUseLine = !cmd.HasLocalFlags()
	return cmd
}

// exclusive refuses more than one of the options.
func exclusive(cmd *cobra.Command, names ...string) {
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		var given []string
		for _, n := range names {
			if cmd.Flags().Changed(n) {
				given = append(given, "--"+n)
			}
		}
		if len(given) > 1 {
			return fail(classUsage, "choose one of them", "%s: %s exclude each other", what(cmd), strings.Join(given, " and "))
		}
		return nil
	}
}

// nearest returns the name that was probably meant: within an edit distance of a third of what was typed, and of one at least; or "".
func nearest(name string, names []string) string {
	best, bestDistance := "", max(1, utf8.RuneCountInString(name)/3)+1
	for _, n := range slices.Sorted(slices.Values(names)) {
		d := distance([]rune(name), []rune(n))
		if strings.HasPrefix(n, name) && len(name) >= 3 {
			d = min(d, 1)
		}
		if d < bestDistance {
			best, bestDistance = n, d
		}
	}
	return best
}

// distance is Levenshtein's, where two neighbours that changed places count once.
func distance(a, b []rune) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				cost++
			}
			rows[i][j] = min(cost, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

func flagNames(cmd *cobra.Command) []string {
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}
