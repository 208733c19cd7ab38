package observe

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Keeper keeps observations: a run's folder does.
type Keeper interface {
	// Keep is called once for each question that was asked, with what it brought.
	Keep(o Observation) (path string, err error)
	// Derive keeps bytes that follow from observations.
	Derive(at Slot, meta Meta, raw []byte) (path string, err error)
}

// Observation is a question with its answer.
type Observation struct {
	At       Slot
	Question Question
	Meta     Meta
	Raw      []byte
	Windows  []Window
	Err      error
	Took     time.Duration
}

// Record is a source that keeps whatever another one answers.
func Record(source Source, keeper Keeper) Source { return &recorder{source, keeper} }

type recorder struct {
	Source
	keeper Keeper
}

func (r *recorder) Begin(ctx context.Context, at Slot, q Question, meta Meta) Pending {
	return &keeping{pending: r.Source.Begin(ctx, at, q, meta), keeper: r.keeper, o: Observation{At: at, Question: q, Meta: meta}}
}

func (r *recorder) Derive(at Slot, meta Meta, raw []byte) (string, error) {
	path, err := r.keeper.Derive(at, meta, raw)
	if err != nil {
		return "", fmt.Errorf("save evidence: %w", err)
	}
	return path, nil
}

// keeping keeps the answer once, before anybody sees it.
type keeping struct {
	pending Pending
	keeper  Keeper
	o       Observation
	once    sync.Once
	answer  Answer
	err     error
}

func (k *keeping) Answer(ctx context.Context) (Answer, error) {
	k.once.Do(func() {
		k.answer, k.err = k.pending.Answer(ctx)
		k.o.Raw, k.o.Windows, k.o.Err, k.o.Took = k.answer.Raw, k.answer.Windows, k.err, k.answer.Took
		path, err := k.keeper.Keep(k.o)
		if err != nil {
			k.err = fmt.Errorf("save evidence: %w", err)
		}
		k.answer.Path = path
	})
	return k.answer, k.err
}
