package main

import (
	"github.com/spf13/cobra"

	"twohop/internal/verdict"
)

func newSchemaCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON Schema of verdict.json",
		Example: `  twohop schema > verdict.schema.json`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(verdict.Schema())
			return err
		},
	}
}
