// Package runconfig is what the command line hands to the suite, which is a process
// of its own: a folder for the verdict, the images, and what to do with the
// cluster. It is data in a file: it starts nothing, and must not import a room that
// judges or one that writes to a cluster.
package runconfig

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"twohop/internal/claim"
	"twohop/internal/cluster"
	"twohop/internal/images"
	"twohop/internal/subject"
)

// Env names the variable that holds the path of a run's folder. Without it the
// suite has nothing to run on.
const Env = "TWOHOP_RUN"

// Config of a run.
type Config struct {
	Images images.Set
	Engine string
	// ClusterName is kind's, and the name of the container network.
	ClusterName string
	KindConfig  string // path
	Domain      string // istiod's --domain; empty: the subject's default
	// Keep leaves the cluster up, and takes one that was left up.
	Keep bool
	// Mutants makes the suite plant faults and judge the claims, instead of
	// judging the subject.
	Mutants *Mutants
	// Lab numbers the first lab of the run. With 2 or more the run is a guest:
	// it takes the cluster that is up and shares it with other runs.
	Lab int
	// Labs is how many labs the run has, numbered from Lab on.
	Labs int
}

// Mutants chooses what a mutation run plants and judges.
type Mutants struct {
	Only string     // plant those whose name contains it
	Also []claim.ID // judged besides the claims that have to turn
}

// Guest says that the cluster belongs to somebody else.
func (c Config) Guest() bool { return c.Lab > 1 }

const file = "config.json"

// ProgressFile gets a line for each thing that a person watching wants to know.
const ProgressFile = "progress.log"

// MutantsFile holds what became of the mutants.
const MutantsFile = "mutants.json"

// FailureFile holds the sentence on why the environment failed, if it did.
const FailureFile = "failure.txt"

// Save writes the configuration into the run's folder.
func (c Config) Save(dir string) error {
	raw, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, file), raw, 0o644)
}

// Load reads what Save wrote.
func Load(dir string) (Config, error) {
	var c Config
	raw, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return c, fmt.Errorf("read the run's configuration: %w", err)
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return c, fmt.Errorf("%s: %w", filepath.Join(dir, file), err)
	}
	return c, nil
}

// Cluster is the cluster that the run needs.
func (c Config) Cluster() cluster.Config {
	domain := c.Domain
	if domain == "" {
		domain = subject.Default().Domain
	}
	source := c.Images.Lane == images.Source
	return cluster.Config{
		Name:       c.ClusterName,
		Engine:     c.Engine,
		NodeImage:  c.Images.Node,
		KindConfig: c.KindConfig,
		OwnCNI:     source,
		Istio: cluster.Istio{
			Istioctl:      c.Images.Istioctl,
			Hub:           c.Images.Istio.Hub,
			Tag:           c.Images.Istio.Tag,
			Domain:        domain,
			UpstreamEnvoy: c.Images.UpstreamEnvoy,
			FlushesFast:   c.Images.FlushesFast,
		},
	}
}
