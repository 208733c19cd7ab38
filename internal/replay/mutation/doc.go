// Package mutation alters a recording of a whole run and replays the claims over
// it: each alteration is a mutant, and the claim must not come out as it did. It
// shows that a fact rests on what was observed, for each fact, without a cluster.
//
// What is altered are the fields of the observations and of the log lines: a value
// becomes another one, a field, a line or an element of a list is dropped or is
// there twice. On top of that come faults of whole witnesses: an answer that is
// empty, cut, another proxy's or the check's, lines that are lost, there twice,
// kept back or not about the claim.
//
// Which fields a fact reads is found by altering, not by a declaration, which
// could be wrong or out of date: Find alters many fields at once, and a set whose
// alteration moves no fact, no cause and no error is not read; another one is
// halved, down to single fields. So "read" means that an alteration shows, and
// what is compared but never said is found by the cases that no fact notices. Find
// also looks for what makes a fact fail that no single field does (Proof). The result
// is kept beside the recording (Reads), since finding it takes minutes. The
// test then alters the read ones one at a time, and all the others of a claim at
// once, after which nothing may move: reads that are out of date show.
//
// Of fields that have the same path but for positions in lists, in one document or
// in the log lines of one stage, Find examines two (one in a claim of more than
// 10,000 fields, whatever the stage of its lines), and leaves the rest unexamined:
// neither read nor unread. In documents of more than 3,000 fields, which one fact
// compares as a whole, it goes by the first three parts of the path. Of those that
// move the same facts, one is altered; and a field without which a parser fails is
// altered in one claim, since the parser is the same in all. The score says how many
// are left out by that. No fact is left out: each that holds has to fail in a case in
// which the claim turns. One that does not hold, in the trial that has to fail, shows
// by itself that it can.
//
// In claims whose replay takes long (more than 10,000 fields or 100 requests)
// one field is altered for each sort of document and stage,
// and one for each fact that none of them moves, with at most six values; and one
// document of a sort and stage has the faults of a whole answer. A mutant of what only
// the check reads is replayed without the control, if it turns the claim by that.
//
// What people get to read (evidence derived from logs, tables, scripts) is not
// looked at here: verify-run works it out anew and compares it. The package knows no
// cluster, and no claim but by its facts.
package mutation
