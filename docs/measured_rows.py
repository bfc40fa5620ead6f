"""Which claims are shown, in which words, and what was asked of each: the rows of `measured.py`.

A cell names claims in square brackets, `[name|format]`; `~` after the format adds the interval, `peer` or `peer.key`
before the colon of the format takes what the peer got. No figure is written here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line: what was measured, by which program, what came out, and what had been asked of it."""

    benchmark: str  # program in bench/, whose results are read
    what: str
    figure: str
    beside: str = ""
    bar: tuple[tuple[str, str, float], ...] = ()  # claim, comparison, limit: all of them are to hold
    bar_words: str = ""
    in_readme: bool = False


ROWS = (
    Row(
        "fewlabel_text",
        "five sets of texts, 8 labels per class, local MiniLM encoder: accuracy over SetFit's, mean of the sets",
        "[mean_of_5_sets.encoder_8.gain_over_setfit|+.3f~], in [mean_of_5_sets.encoder_8.cpu_ratio_to_setfit|.2f]"
        " of its processor seconds",
        "SetFit: SMS spam [sms_spam.encoder_8.accuracy|peer.value:.3f],"
        " AG News [ag_news.encoder_8.accuracy|peer.value:.3f], Amazon [amazon.encoder_8.accuracy|peer.value:.3f],"
        " Banking77 [banking77.encoder_8.accuracy|peer.value:.3f],"
        " CLINC150 [clinc150.encoder_8.accuracy|peer.value:.3f]"
        " ([mean_of_5_sets.encoder_8.gain_over_setfit|draws])",
        (
            ("mean_of_5_sets.encoder_8.gain_over_setfit", ">=", 0.01),
            ("mean_of_5_sets.encoder_8.cpu_ratio_to_setfit", "<=", 1 / 3),
            ("mean_of_5_sets.encoder_8.least_draws_with_setfit", ">=", 10),
        ),
        "+0.01 in a third of the seconds, ten draws",
        in_readme=True,
    ),
    Row(
        "fewlabel_text",
        "the same sets, nothing pretrained: accuracy over TF-IDF + logistic, mean of the sets",
        "[mean_of_5_sets.scratch_8.gain_over_tfidf|+.3f~]",
        "TF-IDF: SMS spam [sms_spam.scratch_8.accuracy|peer.value:.3f],"
        " AG News [ag_news.scratch_8.accuracy|peer.value:.3f], Amazon [amazon.scratch_8.accuracy|peer.value:.3f]"
        " (here [amazon.scratch_8.accuracy|.3f]), Banking77 [banking77.scratch_8.accuracy|peer.value:.3f],"
        " CLINC150 [clinc150.scratch_8.accuracy|peer.value:.3f]",
        (
            ("mean_of_5_sets.scratch_8.gain_over_tfidf", ">=", 0.05),
            ("mean_of_5_sets.scratch_8.least_draws_with_tfidf", ">=", 10),
        ),
        "+0.05, ten draws",
        in_readme=True,
    ),
    Row(
        "story",
        "Banking77, 8 labels per class, the whole way, local MiniLM encoder: accuracy",
        "[banking77.pretrained.accuracy|.3f~]",
        "TF-IDF + logistic: [banking77.pretrained.accuracy|peer.value:.3f]",
    ),
    Row(
        "story",
        "the same, nothing pretrained",
        "[banking77.scratch.accuracy|.3f~]",
        "TF-IDF + logistic: [banking77.scratch.accuracy|peer.value:.3f]",
    ),
    Row(
        "fewlabel_image",
        "Fashion-MNIST, 10 labels per class, 60,000 images, `--time 10m`, ten draws: accuracy",
        "[fashion_mnist.10_per_class.accuracy|.3f~]",
        "gradient histograms with label spreading: [fashion_mnist.10_per_class.accuracy|peer.value:.3f]; with logistic"
        " regression: [fashion_mnist.10_per_class.paired_gain_over_hog_logistic|peer:.3f]",
        (("fashion_mnist.10_per_class.paired_gain_over_hog_spreading", ">=", 0.03),),
        "+0.03 over spreading",
        in_readme=True,
    ),
    Row(
        "fewlabel_image",
        "CIFAR-10, 25 labels per class, 50,000 images, `--time 10m`, ten draws: accuracy",
        "[cifar10.25_per_class.accuracy|.3f~]",
        "gradient histograms with label spreading: [cifar10.25_per_class.accuracy|peer.value:.3f]; with logistic"
        " regression: [cifar10.25_per_class.paired_gain_over_hog_logistic|peer:.3f]",
        (("cifar10.25_per_class.paired_gain_over_hog_spreading", ">=", 0.05),),
        "+0.05 over spreading",
        in_readme=True,
    ),
    Row(
        "choose",
        "labels for learning, chosen instead of drawn at random, to the same accuracy, mean of five sets",
        "[all.propagation.labels_ratio|.2f] as many ([all.propagation.labels_ratio|low:.2f] to"
        " [all.propagation.labels_ratio|high:.2f] by set)",
        "random: 1",
        (("all.propagation.labels_ratio", "<=", 0.5),),
        "half",
        in_readme=True,
    ),
    Row(
        "choose",
        "Fashion-MNIST, 100 labels chosen out of 60,000 images: accuracy",
        "[fashion_mnist.whole_pool.propagation.accuracy_at_100|.3f~]",
        "100 at random: [fashion_mnist.whole_pool.propagation.accuracy_at_100|peer.value:.3f]",
        (("fashion_mnist.whole_pool.propagation.accuracy_at_100", ">=", 0.79),),
        "0.79",
    ),
    Row(
        "choose_label_sets",
        "labels for learning where items carry sets of classes, chosen instead of drawn at random, mean of five sets,"
        " to the same F1 of items",
        "[all.chosen.item_f1.labels_ratio|.2f] as many ([all.chosen.item_f1.labels_ratio|low:.2f] to"
        " [all.chosen.item_f1.labels_ratio|high:.2f] by set); to the same macro-F1"
        " [all.chosen.macro_f1.labels_ratio|.2f], micro-F1 [all.chosen.micro_f1.labels_ratio|.2f], share of whole sets"
        " [all.chosen.whole.labels_ratio|.2f] ([all.chosen.whole.labels_ratio|low:.2f] to"
        " [all.chosen.whole.labels_ratio|high:.2f])",
        "random: 1; typical and new alone, all at once: [all.typical.item_f1.labels_ratio|.2f]",
    ),
    Row(
        "choose_label_sets",
        "what the next dozen brings to sets of classes: gains inside the 80 % interval",
        "F1 of items [all.forecast.item_f1.inside_80|.0%], whole sets [all.forecast.whole.inside_80|.0%]; off by"
        " [all.forecast.item_f1.mean_error_points|.1f] and [all.forecast.whole.mean_error_points|.1f] points",
        "no change: off by [all.forecast.item_f1.mean_error_points|peer.value:.1f] and"
        " [all.forecast.whole.mean_error_points|peer.value:.1f]",
        (
            ("all.forecast.item_f1.inside_80", ">=", 0.7),
            ("all.forecast.item_f1.inside_80", "<=", 0.9),
            ("all.forecast.whole.inside_80", ">=", 0.7),
            ("all.forecast.whole.inside_80", "<=", 0.9),
        ),
        "70 to 90 %",
    ),
    Row(
        "decide",
        "test labels until SHIP or HOLD, chosen and read with the unlabelled rest, mean of five sets",
        "[mean_of_sets.active.label_ratio|.2f~] as many; 95 % intervals covered [all_sets.active.coverage_95|.1%]",
        "random, same looks: 1",
        (
            ("mean_of_sets.active.label_ratio", "<=", 0.5),
            ("all_sets.active.coverage_95", ">=", 0.93),
            ("all_sets.active.coverage_95", "<=", 0.97),
        ),
        "half; 93 to 97 %",
        in_readme=True,
    ),
    Row(
        "decide_sets",
        "sets of classes, composed texts: test labels until SHIP or HOLD about items' mean F1, and about whole sets,"
        " mean of four settings",
        "[mean_of_sets.item_f1.active.label_ratio|.2f~] and [mean_of_sets.accuracy.active.label_ratio|.2f~] as many",
        "random, same looks: 1; random, read with the rest [mean_of_sets.item_f1.uniform_powered.label_ratio|.2f] and"
        " [mean_of_sets.accuracy.uniform_powered.label_ratio|.2f]",
    ),
    Row(
        "decide_sets",
        "the same: decided at the bound, where each decision is an error: SHIP, HOLD about F1; about whole sets",
        "[at_bound.item_f1.active.ship_rate|.1%~], [at_bound.item_f1.active.hold_rate|.1%];"
        " [at_bound.accuracy.active.ship_rate|.1%~], [at_bound.accuracy.active.hold_rate|.1%]",
        "random: [at_bound.item_f1.random.ship_rate|.1%], [at_bound.item_f1.random.hold_rate|.1%];"
        " [at_bound.accuracy.random.ship_rate|.1%], [at_bound.accuracy.random.hold_rate|.1%]",
        (
            ("at_bound.item_f1.active.ship_rate", "<=", 0.05),
            ("at_bound.item_f1.active.hold_rate", "<=", 0.05),
            ("at_bound.accuracy.active.ship_rate", "<=", 0.05),
            ("at_bound.accuracy.active.hold_rate", "<=", 0.05),
        ),
        "5 % each",
    ),
    Row(
        "decide_sets",
        "the same: 95 % intervals that held the truth: F1 of items, whole sets, each class's recall",
        "[all_sets.item_f1.active.coverage_95|.1%], [all_sets.accuracy.active.coverage_95|.1%],"
        " [all_sets.recall.active.coverage_95|.1%]",
        "random: [all_sets.item_f1.random.coverage_95|.1%], [all_sets.accuracy.random.coverage_95|.1%],"
        " [all_sets.recall.random.coverage_95|.1%]",
        tuple(
            (f"all_sets.{figure}.active.coverage_95", sign, limit)
            for figure in ("item_f1", "accuracy", "recall")
            for sign, limit in ((">=", 0.93), ("<=", 0.97))
        ),
        "93 to 97 %",
    ),
    Row(
        "verdict",
        "simulated releases of an equal model, 1,000 a setting: held wrongly, worst setting",
        "[worst_cell.iid.false_hold_rate|.1%~]; in clusters [worst_cell.clustered.false_hold_rate|.1%~]",
        "",
        (
            ("worst_cell.iid.false_hold_rate", "<=", 0.05),
            ("worst_cell.clustered.false_hold_rate", "<=", 0.05),
        ),
        "5 %",
        in_readme=True,
    ),
    Row(
        "verdict",
        "the same for a model worse by the margin: held; shipped",
        "[power.iid.margin.hold_rate|.1%]; [power.iid.margin.ship_rate|.1%]. In clusters"
        " [power.clustered.margin.hold_rate|.1%]; [power.clustered.margin.ship_rate|.1%]",
        "",
        (("power.iid.margin.hold_rate", ">=", 0.8), ("power.clustered.margin.hold_rate", ">=", 0.8)),
        "80 % held",
        in_readme=True,
    ),
    Row(
        "partly_labelled",
        "a loss of the margin on 1,000 test items of which 30 to 300 have labels, 1,000 tests a setting: passed, worst",
        "[worst.loss.iid.margin.census_passed|.1%~]; in clusters [worst.loss.clustered.margin.census_passed|.1%~]",
        "",
        (
            ("worst.loss.iid.margin.census_passed", "<=", 0.05),
            ("worst.loss.clustered.margin.census_passed", "<=", 0.05),
            ("worst.equal.iid.margin.census_failed", "<=", 0.05),
            ("worst.equal.clustered.margin.census_failed", "<=", 0.05),
        ),
        "5 %, and 5 % of equal models held",
    ),
    Row(
        "partly_labelled",
        "an equal model that differs on 1 % of the items: passed, at 30; 100; 300 labels",
        "[equal.iid.differ_0.01.n30.margin.census_passed|.0%]; [equal.iid.differ_0.01.n100.margin.census_passed|.0%];"
        " [equal.iid.differ_0.01.n300.margin.census_passed|.0%]",
        "as many labels at random: [equal.iid.differ_0.01.n30.margin.census_passed|peer.value:.0%];"
        " [equal.iid.differ_0.01.n100.margin.census_passed|peer.value:.0%];"
        " [equal.iid.differ_0.01.n300.margin.census_passed|peer.value:.0%]",
        in_readme=True,
    ),
    Row(
        "nonresponse",
        "labelling a drawn test: two fifths of the errors passed over, noticed; stopping early, taken for it",
        "[hard.all.noticed|.1%~] (accuracy would read [hard.all.accuracy_above_truth|.1f] points too high);"
        " [stops.all.noticed|.1%~]",
        "",
        (("stops.all.noticed", "<=", 0.01),),
        "1 % wrongly",
        in_readme=True,
    ),
    Row(
        "faults",
        "faults planted in data and models of Banking77 and Fashion-MNIST: stopped; innocent changes stopped",
        "[both.planted.faults_stopped|.1%~] of [both.planted.faults_stopped_n|.0f];"
        " [both.planted.false_stops|.1%~] of [both.planted.false_stops_n|.0f]",
        "",
        (("both.planted.faults_stopped", "==", 1.0), ("both.planted.false_stops", "<=", 0.02)),
        "all; 2 %",
        in_readme=True,
    ),
    Row(
        "faults",
        "natural faults (another domain, year, class mix, 8-bit export, older encoder): decided verdicts that agree"
        " with a large hidden test",
        "[all.natural.agreement|.1%~] of [all.natural.cases|.0f] cases, [all.natural.decided|.0%] of them decided;"
        " of those that the hidden test holds, [all.natural.wrong_ship|.0%~] were shipped, most of them 8-bit exports",
        "",
        (("all.natural.agreement", ">=", 0.95),),
        "95 %",
        in_readme=True,
    ),
    Row(
        "trigger",
        "poisoned trainings in which a trigger took hold: held before release",
        "[seen.taken_held|.0%] of [seen.taken_held_n|.0f] with triggers known when the gate was built,"
        " [held_out.taken_held|.0%] of [held_out.taken_held_n|.0f] with others",
        "",
    ),
    Row(
        "ood",
        "CLINC150, questions outside its 150 classes, local encoder, all labels: AUROC of the guard that training"
        " chooses",
        "[clinc150.encoder.near.out_of_scope.auroc|.3f~]",
        "scikit-learn, largest probability: [clinc150.encoder.near.out_of_scope.auroc|peer.sklearn.msp:.3f]; nearest"
        " neighbours: [clinc150.encoder.near.out_of_scope.auroc|peer.sklearn.knn:.3f]",
        (("clinc150.encoder.near.out_of_scope.auroc", ">=", 0.96),),
        "0.96",
        in_readme=True,
    ),
    Row(
        "labelfree",
        "accuracy estimated without labels, faults never seen while it was built, mild: mean absolute error, points",
        "[fresh_faults_mild.neighbours.mean_absolute_error|.1f~]",
        "average confidence: [fresh_faults_mild.neighbours.mean_absolute_error|peer.average_confidence:.1f]; ATC:"
        " [fresh_faults_mild.neighbours.mean_absolute_error|peer.atc:.1f]",
        (("fresh_faults_mild.neighbours.mean_absolute_error", "<=", 3.0),),
        "3",
        in_readme=True,
    ),
    Row(
        "labelfree",
        "the same, severe",
        "[fresh_faults_severe.neighbours.mean_absolute_error|.1f~]",
        "average confidence: [fresh_faults_severe.neighbours.mean_absolute_error|peer.average_confidence:.1f]; ATC:"
        " [fresh_faults_severe.neighbours.mean_absolute_error|peer.atc:.1f]",
        (("fresh_faults_severe.neighbours.mean_absolute_error", "<=", 6.0),),
        "6",
        in_readme=True,
    ),
    Row(
        "labelfree",
        "the same on the faults held out at first: mild; severe",
        "[faults_mild.neighbours.mean_absolute_error|.1f~]; [faults_severe.neighbours.mean_absolute_error|.1f~]",
        "average confidence: [faults_mild.neighbours.mean_absolute_error|peer.average_confidence:.1f];"
        " [faults_severe.neighbours.mean_absolute_error|peer.average_confidence:.1f]",
        (
            ("faults_mild.neighbours.mean_absolute_error", "<=", 3.0),
            ("faults_severe.neighbours.mean_absolute_error", "<=", 6.0),
        ),
        "3; 6",
    ),
    Row(
        "labelfree",
        "the same on Amazon's other domains; on bank customers two years later (whose answers themselves changed)",
        "[domains.neighbours.mean_absolute_error|.1f~]; [fresh_domains.neighbours.mean_absolute_error|.1f~]",
        "ATC: [domains.neighbours.mean_absolute_error|peer.atc:.1f];"
        " [fresh_domains.neighbours.mean_absolute_error|peer.atc:.1f]",
        (("domains.neighbours.mean_absolute_error", "<=", 3.0),),
        "3 mild, 6 severe",
        in_readme=True,
    ),
    Row(
        "labelfree",
        "90 % intervals of the same that hold: at first held out; fresh",
        "[all.neighbours.coverage_of_90_percent|.1%]; [fresh_all.neighbours.coverage_of_90_percent|.1%~]",
        "",
        (
            ("all.neighbours.coverage_of_90_percent", ">=", 0.87),
            ("all.neighbours.coverage_of_90_percent", "<=", 0.93),
            ("fresh_all.neighbours.coverage_of_90_percent", ">=", 0.87),
            ("fresh_all.neighbours.coverage_of_90_percent", "<=", 0.93),
        ),
        "87 to 93 %",
    ),
    Row(
        "suite_cost",
        "the full evaluation of 10,000 texts (MiniLM); of 10,000 images (a small network): seconds",
        "[texts.full_suite.wall_seconds|.0f]; [images.full_suite.wall_seconds|.0f]",
        "",
        (("texts.full_suite.wall_seconds", "<=", 600), ("images.full_suite.wall_seconds", "<=", 600)),
        "600",
    ),
    Row(
        "suite_cost",
        "what it takes over the bare forward passes: texts; images",
        "[texts.full_suite.overhead|.0%]; [images.full_suite.overhead|.0%]",
        "",
        (("texts.full_suite.overhead", "<=", 0.2), ("images.full_suite.overhead", "<=", 0.2)),
        "20 %",
    ),
    Row(
        "budget",
        "trainings of random sets, sizes and limits of 30 s to 2 min (time, money, memory): later than 1.02 T + 5 s",
        "[budget.all.beyond|.0f] of [budget.all.runs|.0f]; every begun one leaves a bundle that answers:"
        " [budget.begun.serves|.0%]",
        "",
        (("budget.all.beyond", "==", 0), ("budget.begun.serves", "==", 1.0), ("budget.all.runs", ">=", 200)),
        "none of 200, all serve",
        in_readme=True,
    ),
    Row(
        "budget",
        "seconds taken of those quoted, median over rungs",
        "[price.seconds.taken_to_quoted|.2f]; single ones within 15 %: [price.seconds.within_15_percent|.0%]",
        "",
        (("price.seconds.taken_to_quoted", ">=", 0.85), ("price.seconds.taken_to_quoted", "<=", 1.15)),
        "0.85 to 1.15",
        in_readme=True,
    ),
    Row(
        "finetune",
        "all labels of SMS spam, local encoder: seconds of `add` and `train` to the accuracy of fine-tuning it, one"
        " run",
        "[sms_spam.seconds|.0f] ([sms_spam.ratio|.2f] of the peer's)",
        "`Trainer`, three epochs: [sms_spam.seconds|peer.value:.0f] ([sms_spam.seconds|peer.accuracy:.3f] right)",
        (("sms_spam.ratio", "<=", 0.25),),
        "a quarter",
        in_readme=True,
    ),
    Row(
        "scale",
        "one million texts, `add` and `train`, nothing pretrained",
        "[texts.both.cpu_seconds|.0f] processor seconds, [texts.both.peak_memory|.1f] GiB,"
        " [texts.1000000.accuracy|.2f] right; seconds grow with n to the power of [texts.both.cpu_exponent|.2f]",
        "TF-IDF + logistic: [texts.both.cpu_seconds|peer:.0f] s, [texts.both.peak_memory|peer:.1f] GiB,"
        " [texts.1000000.accuracy|peer:.2f] right",
        (("texts.both.peak_memory", "<=", 4.0), ("texts.both.cpu_exponent", "<=", 1.0)),
        "linear, 4 GiB",
        in_readme=True,
    ),
    Row(
        "serve",
        "requests per second, 64 callers, small images, answers synced to disk",
        "[small_image.concurrency_64.requests_per_s|,.0f~]",
        in_readme=True,
    ),
    Row(
        "watch",
        "error rate rising from 5 to 15 %, base rate known: labels until the alarm",
        "[error_5_to_15.known_rate.mean_delay_labels|.0f~] at one false alarm in"
        " [error_5_to_15.known_rate.mean_time_between_false_alarms|,.0f] labels",
        "CUSUM told both rates: [error_5_to_15.known_rate.mean_delay_labels|peer:.0f] at one in"
        " [error_5_to_15.known_rate.mean_time_between_false_alarms|peer:,.0f]",
        in_readme=True,
    ),
    Row(
        "watch",
        "a release that leaves all, half, a fifth of its requests without an answer: requests until the alarm",
        "[unanswered.100_percent.mean_delay_requests|.1f], [unanswered.50_percent.mean_delay_requests|.1f],"
        " [unanswered.20_percent.mean_delay_requests|.1f] at one false alarm in"
        " [unanswered.mean_requests_between_false_alarms|,.0f] requests of which 1 % fail",
        "five failures in a row: [unanswered.100_percent.mean_delay_requests|peer:.1f],"
        " [unanswered.50_percent.mean_delay_requests|peer:.1f],"
        " [unanswered.20_percent.mean_delay_requests|peer:,.0f]; no false alarm",
        in_readme=True,
    ),
    Row(
        "watch",
        "the same, base rate at the upper bound of 400 test labels",
        "[error_5_to_15.upper_bound_rate.mean_delay_labels|.0f] at one in"
        " [error_5_to_15.upper_bound_rate.mean_time_between_false_alarms|,.0f]",
    ),
)  # fmt: skip
