package deploy

import (
	"fmt"
	"os"
	"testing"
)

// The tests read the files of audit/, by names as that folder has them.
func TestMain(m *testing.M) {
	if err := os.Chdir("audit"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
