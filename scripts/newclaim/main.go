// Command newclaim adds a claim's skeleton: an entry in the registry and an
// experiment in the suites. It knows the source tree as text, and of the project
// it must import nothing but the registry, so that it works while the suites do
// not compile. "make new-claim" runs it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"twohop/internal/claim"
)

func main() {
	err := run(os.Args[1:], os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "new-claim:", err)
		os.Exit(2)
	}
}

func run(args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("newclaim", flag.ContinueOnError)
	id := flags.String("id", "", "the claim's id, such as H2-ca-plain")
	chapter := flags.String("chapter", "", "the chapter that it belongs to, such as hop2")
	expected := flags.String("expected", string(claim.Supported), "the verdict that a run is expected to find: supported or refuted")
	root := flags.String("root", ".", "the source tree")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *id == "" || *chapter == "" {
		return errors.New("a claim needs an id and a chapter: make new-claim ID=H2-ca-plain CHAPTER=hop2 [EXPECTED=refuted]")
	}
	s, err := newSkeleton(claim.ID(*id), *chapter, claim.Verdict(*expected))
	if err != nil {
		return err
	}
	if err := s.write(*root); err != nil {
		return err
	}
	fmt.Fprint(stdout, s.next())
	return nil
}
