package recording

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"twohop/internal/observe"
	"twohop/internal/verdict"
)

func TestPackIsDeterministic(t *testing.T) {
	files := Files{"b": []byte("2"), "a/x": []byte("1"), "a/empty": {}}
	one, err := files.Pack()
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if two, err := files.Clone().Pack(); err != nil || !bytes.Equal(one, two) {
			t.Fatalf("packed twice, and differently (%v)", err)
		}
	}
	back, err := Unpack(one)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(files, back); diff != "" {
		t.Error(diff)
	}
	if _, err := Unpack(one[:20]); err == nil {
		t.Error("half an archive was read")
	}
}

func TestFiles(t *testing.T) {
	files := Files{"b/y": nil, "a": []byte("1"), "b/x": nil, "bc": nil}
	if raw, err := files.ReadFile("a"); err != nil || string(raw) != "1" {
		t.Errorf("ReadFile() = %q, %v", raw, err)
	}
	if _, err := files.ReadFile("b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is missing: %v", err)
	}
	if names, err := files.Walk("b"); err != nil || !slices.Equal(names, []string{"b/x", "b/y"}) {
		t.Errorf("Walk() = %q, %v", names, err)
	}
	if names, err := files.Walk("."); err != nil || len(names) != 4 {
		t.Errorf("Walk(.) = %q, %v", names, err)
	}
	if _, err := files.Walk("c"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder that is missing: %v", err)
	}
}

func TestTrimKeepsWhatAChecksWindowHolds(t *testing.T) {
	var whole []byte
	for n, text := range []string{"noise", "in the window", "in the window too", "noise", "about t0123456789abcdef", "noise", "the last line"} {
		whole = append(whole, observe.FormatLine(n, observe.LogLine{At: time.Unix(int64(n), 0), Text: []byte(text)})...)
	}
	kept, err := trim(whole, []verdict.Window{{From: 1, To: 3}, {From: 5, To: 5}})
	if err != nil {
		t.Fatal(err)
	}
	var numbers []string
	for line := range strings.Lines(string(kept)) {
		numbers = append(numbers, line[:6])
	}
	if want := []string{"000001", "000002", "000004", "000006"}; !slices.Equal(numbers, want) {
		t.Errorf("kept %q, want %q", numbers, want)
	}
	if _, err := trim(kept, nil); err == nil {
		t.Error("a log with gaps was taken for a run's")
	}
}
