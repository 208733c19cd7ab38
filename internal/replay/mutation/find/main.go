// Find finds which fields of a recording the facts read, and which alterations make
// those facts fail that no single field does: go run ./internal/replay/mutation/find
// ARCHIVE READS. "make record" runs it. It takes minutes, and knows no cluster.
package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"twohop/internal/claim"
	"twohop/internal/replay/mutation"
	"twohop/internal/replay/recording"
	"twohop/internal/verdict"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: go run ./internal/replay/mutation/find ARCHIVE READS")
		os.Exit(2)
	}
	if err := find(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "find:", err)
		os.Exit(1)
	}
}

func find(archive, into string) error {
	packed, err := os.ReadFile(archive)
	if err != nil {
		return err
	}
	files, err := recording.Unpack(packed)
	if err != nil {
		return err
	}
	suite, err := mutation.Load(files)
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(suite.Stale)) {
		fmt.Printf("%s is left out: its replay does not come out as recorded: %s\n", id, suite.Stale[id])
	}
	start := time.Now()
	reads := suite.Find(func(id claim.ID, what string, n int) {
		fmt.Printf("%5.0f s  %-20s %4d %s\n", time.Since(start).Seconds(), id, n, what)
	})
	reads.Recording = verdict.Hash(packed)
	raw, err := reads.Pack()
	if err != nil {
		return err
	}
	fields, proofs := 0, 0
	for _, found := range reads.Claims {
		fields, proofs = fields+found.Fields(), proofs+len(found.Proofs)
	}
	fmt.Printf("%s: facts read %d fields; %d facts fail by several fields or an added one; %d claims, %d KiB\n", into, fields, proofs, len(reads.Claims), len(raw)>>10)
	return os.WriteFile(into, raw, 0o644)
}
