// Record packs a finished run into a recording for tests: go run
// ./internal/replay/record RUN ARCHIVE [CLAIM...]. "make record" calls it. It knows
// only files, and no cluster.
package main

import (
	"fmt"
	"os"

	"twohop/internal/claim"
	"twohop/internal/replay/recording"
	"twohop/internal/verdict"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: go run ./internal/replay/record RUN ARCHIVE [CLAIM...]")
		os.Exit(2)
	}
	if err := record(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, "record:", err)
		os.Exit(1)
	}
}

func record(dir, archive string, only []string) error {
	run, err := verdict.OpenRun(dir)
	if err != nil {
		return err
	}
	defer run.Close()
	var ids []claim.ID
	for _, id := range only {
		ids = append(ids, claim.ID(id))
	}
	files, err := recording.Take(run, ids...)
	if err != nil {
		return err
	}
	packed, err := files.Pack()
	if err != nil {
		return err
	}
	whole := 0
	for _, raw := range files {
		whole += len(raw)
	}
	fmt.Printf("%s: %d files, %d KiB, packed %d KiB\n", archive, len(files), whole>>10, len(packed)>>10)
	return os.WriteFile(archive, packed, 0o644)
}
