package images

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"twohop/internal/engine"
)

// goModule is a Go module under images/ whose programs go into images and onto the
// host. Modules that ask for the same version of a package share its compilation.
type goModule struct {
	name    string // for people
	dir     string // of images/
	targets []string
	ldflags string // stamps the programs with the versions they stand for
	tag     string // hash of all that decides its programs
	host    []string
}

func (m *goModule) flags() []string {
	return []string{"-pgo=off", "-tags", strings.Join(buildTags, ","), "-ldflags", m.ldflags}
}

// programs is where what the host needs of a module is kept.
func (s *session) programs(m *goModule) string { return filepath.Join(s.cache, "tools-"+m.tag) }

// stamp strips programs and sets variables of theirs.
func stamp(prefix string, values ...string) string {
	return "-s -w -X " + prefix + strings.Join(values, " -X "+prefix)
}

func kubernetesStamps(version string) string {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	return stamp("k8s.io/component-base/version.", "gitVersion="+version, "gitMajor="+parts[0], "gitMinor="+parts[1], "gitTreeState=clean")
}

func istioStamps(tag, commit string) string {
	return stamp("istio.io/istio/pkg/version.", "buildVersion="+tag, "buildTag="+tag, "buildHub="+istioHub, "buildGitRevision="+commit, "buildStatus=Clean")
}

func (s *session) goCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := engine.Process(ctx, "go", args...)
	cmd.Dir = filepath.Join(s.root, "images", dir)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "GOWORK=off")
	cmd.Env = append(cmd.Env, s.tempDir()...)
	return cmd
}

func (s *session) goVersion(ctx context.Context) (string, error) {
	out, err := s.goCommand(ctx, "", "env", "GOVERSION").Output()
	if err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", &engine.EnvironmentError{What: "the source lane needs the go command, and it does not run", Do: "install Go (images/go.mod says which) and put it on PATH", Err: err}
	}
	return strings.TrimSpace(string(out)), nil
}

// checkGoSpace is the same for Go's build cache.
func (s *session) checkGoSpace(ctx context.Context) error {
	out, err := s.goCommand(ctx, "", "env", "GOCACHE").Output()
	if err != nil {
		return err
	}
	cache := strings.TrimSpace(string(out))
	if entries, err := os.ReadDir(cache); err == nil && len(entries) > 0 {
		return nil // compiled before, at least in part: the need cannot be told
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	return needFree(cache, needGo, "compiling Kubernetes and Istio")
}

// compile builds a module's programs, and keeps those that run on the host.
func (s *session) compile(ctx context.Context, m *goModule, bin string) error {
	return s.journal.step(m.name, func(st *step) error {
		st.set("looking at modules")
		offline := s.goProxySilent(ctx)
		if offline != nil {
			s.say("images: %v; building with the modules that are on this machine", offline)
		}
		var fetched atomic.Int64
		var list bytes.Buffer
		cmd := s.goCommand(ctx, m.dir, slices.Concat([]string{"list", "-deps", "-f", "{{.Stale}}"}, m.flags(), m.targets)...)
		cmd.Stdout = &list
		if offline != nil {
			cmd.Env = append(cmd.Env, "GOPROXY=off") // to fail at once, not in an hour
		}
		if err := st.run(cmd, func(line string) {
			if _, is := goLine(line); is {
				st.set("fetching modules: %d", fetched.Add(1))
			}
		}); err != nil {
			if offline != nil && strings.Contains(err.Error(), "GOPROXY=off") {
				return &engine.EnvironmentError{What: offline.Error() + ", and not all modules are on this machine", Do: "see that this machine reaches it or set GOPROXY, then run again; what is done already is kept"}
			}
			return notAnswering("the Go module proxy", "GOPROXY", err)
		}
		total := strings.Count(list.String(), "true\n")
		st.set("0 of %d packages", total)
		if err := s.goBuild(ctx, st, m.dir, total, slices.Concat([]string{"-o", bin + "/"}, m.flags(), m.targets)...); err != nil {
			return err
		}
		for _, name := range m.host {
			if err := install(filepath.Join(bin, name), filepath.Join(s.programs(m), name)); err != nil {
				return err
			}
		}
		return nil
	})
}

// goBuild compiles, and says how many of total packages are done. The error of a
// program that does not compile is a *compileError.
func (s *session) goBuild(ctx context.Context, st *step, dir string, total int, args ...string) error {
	compiled, first := 0, ""
	err := st.run(s.goCommand(ctx, dir, append([]string{"build", "-v"}, args...)...), func(line string) {
		if first == "" && compilerError.MatchString(line) {
			first = line
		}
		if is, _ := goLine(line); !is {
			return
		}
		if compiled++; compiled < total {
			st.set("%d of %d packages", compiled, total)
		} else {
			st.set("linking")
		}
	})
	if err != nil && first != "" && ctx.Err() == nil {
		return &compileError{line: first, err: err}
	}
	return err
}

// goProxyWithin is how long the module proxy may take to answer a request: the
// go command itself would wait for ever.
const goProxyWithin = 10 * time.Second

// goProxySilent is why the module proxy is of no use, or nil: if one of the
// proxies answers, whatever it says, or if there is none to ask.
func (s *session) goProxySilent(ctx context.Context) error {
	out, err := s.goCommand(ctx, "", "env", "GOPROXY").Output()
	if err != nil {
		return err
	}
	return proxiesSilent(ctx, strings.TrimSpace(string(out)), goProxyWithin)
}

func proxiesSilent(ctx context.Context, proxies string, within time.Duration) error {
	var silent error
	for _, proxy := range strings.FieldsFunc(proxies, func(r rune) bool { return r == ',' || r == '|' }) {
		u, err := url.Parse(strings.TrimSpace(proxy))
		if err != nil || u.Scheme != "http" && u.Scheme != "https" {
			continue
		}
		ask, cancel := context.WithTimeout(ctx, within)
		req, err := http.NewRequestWithContext(ask, http.MethodGet, u.JoinPath("k8s.io/kubernetes/@v/list").String(), nil)
		if err == nil {
			var resp *http.Response
			if resp, err = http.DefaultClient.Do(req); err == nil {
				_ = resp.Body.Close()
			}
		}
		cancel()
		if err == nil {
			return nil
		}
		silent = fmt.Errorf("the Go module proxy %s does not answer within %s", u.Redacted(), within)
	}
	return silent
}

// moduleDir is where a module's files are on this machine, fetched if need be.
func (s *session) moduleDir(ctx context.Context, module, version string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := s.goCommand(ctx, "", "mod", "download", "-json", module+"@"+version)
	// Outside any module, so that no go.sum has to know a module that is only read.
	cmd.Dir = s.work
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go mod download %s@%s: %w: %s%s", module, version, err, stderr.String(), stdout.String())
	}
	return jsonField(stdout.Bytes(), "Dir")
}
