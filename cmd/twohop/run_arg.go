package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"twohop/internal/verdict"
)

// Output formats of -o.
const (
	formatText     = "text"
	formatJSON     = "json"
	formatMarkdown = "markdown"
)

// addFormat adds -o and its completion.
func addFormat(cmd *cobra.Command) {
	cmd.Flags().StringP("output", "o", formatText, "output format: text, json or markdown")
	err := cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(
		[]string{formatText, formatJSON, formatMarkdown}, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic(err) // the flag was added on the line above
	}
}

func formatOf(cmd *cobra.Command) (string, error) {
	format, err := cmd.Flags().GetString("output")
	if err != nil {
		return "", err
	}
	switch format {
	case formatText, formatJSON, formatMarkdown:
		return format, nil
	}
	return "", usageError("-o %q is not a format: write text, json or markdown", format)
}

// runPath finds the verdict.json that a RUN argument names.
func runPath(cmd *cobra.Command, arg string) (string, error) {
	out, err := cmd.Flags().GetString("out")
	if err != nil {
		return "", err
	}
	tried := []string{arg}
	if arg == "latest" {
		tried = []string{filepath.Join(out, "latest")}
	} else if !strings.ContainsRune(arg, filepath.Separator) {
		tried = append(tried, filepath.Join(out, arg))
	}
	for _, path := range tried {
		info, err := os.Stat(path)
		if err != nil {
			continue
		}
		if !info.IsDir() {
			return path, nil
		}
		file := filepath.Join(path, verdict.VerdictFile)
		if _, err := os.Stat(file); err != nil {
			return "", usageError("%s is not a run: it has no %s; \"twohop runs\" lists the runs", path, verdict.VerdictFile)
		}
		return file, nil
	}
	if arg == "latest" {
		return "", usageError("there is no latest run (%s does not exist): make one with \"twohop run\", or name the folder of the runs with --out", tried[0])
	}
	return "", usageError("no run %q (looked for %s): \"twohop runs\" lists the runs, and --out names the folder that holds them",
		arg, strings.Join(tried, " and "))
}

// readRun reads the verdict that a RUN argument names, and says in which folder.
func readRun(cmd *cobra.Command, arg string) (v *verdict.Verdict, dir string, err error) {
	path, err := runPath(cmd, arg)
	if err != nil {
		return nil, "", err
	}
	v, err = verdict.ReadVerdict(path)
	if err != nil {
		return nil, "", &exitError{exitUsage, err}
	}
	return v, filepath.Dir(path), nil
}

// completeRuns completes RUN with the ids of the runs, the newest first.
func completeRuns(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	out, err := cmd.Flags().GetString("out")
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	files, _ := filepath.Glob(filepath.Join(out, "*", verdict.VerdictFile))
	var runs []string
	for i := len(files) - 1; i >= 0; i-- {
		runs = append(runs, filepath.Base(filepath.Dir(files[i])))
	}
	return runs, cobra.ShellCompDirectiveDefault
}

// textOptions fits text to where it goes: colours and the terminal's width only
// on a terminal, and colours never with NO_COLOR.
func textOptions(w io.Writer) verdict.TextOptions {
	if !isTerminal(w) {
		return verdict.TextOptions{}
	}
	opts := verdict.TextOptions{Colour: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
	if columns, _, err := term.GetSize(int(w.(*os.File).Fd())); err == nil {
		opts.Width = min(columns, widestText)
	}
	return opts
}

// widestText is where a wider line stops being easier to read.
const widestText = 120

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
