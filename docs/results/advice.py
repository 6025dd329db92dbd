"""The first thing that a reader of the results wants: which one should I take?"""
from operator import itemgetter

from accuracy_tables import (
    beside,
    by_labels,
    gap,
    measure,
    score,
    spread_of,
    student_stages,
)
from speed_tables import STUDENTS, by_area, measured, overtakes


def lines(files: dict[str, dict], of_parts: dict[str, dict]) -> list[str]:
    """Advice by question, as far as it was measured.

    Args:
        files: Name → content; those of both methods and the speed of base networks must be there.
        of_parts: Data set → its ablation.
    """
    told = [
        '### Which one?', '',
        'What the tables below say, with small networks on CamVid and CIFAR-10 for accuracy and '
        'base networks on two CPU cores for time; other data and a GPU may say otherwise. '
        f"Differences with the 95% interval of {len(files['camvid']['seeds'])} seeds; where it "
        'holds 0, they are called level: no difference was shown.', '',
        *which_method(files['camvid'], files['adala_camvid'], files['speed_cpu'])]
    told += which_objective(of_parts) if of_parts else []
    if 'students_camvid' in files:
        told += which_student(files['students_camvid'], files['students_speed'])
    if 'camvid_few_labels' in files:
        told += more_images_than_labels(files['camvid_few_labels'])
    told += cost(files['cheaper_teacher']) if 'cheaper_teacher' in files else []
    return [*told, '']


def which_method(camvid: dict, adala: dict, timed: dict) -> list[str]:
    """Which method, and from which image on it pays."""
    a, b, rows = camvid['stages'], adala['stages'], measured(timed)

    def times(name: str, size: str) -> str:
        ours, theirs = (rows[n, size, 'fp32']['ms']['median'] for n in (name, 'vit-base'))
        return f'1/{theirs / ours:.1f}'

    size = '1024x2048'
    faster = {k: overtakes(timed, f'{k}-base', 'vit-base', 'fp32')
              for k in ('linear-vit', 'adventurer')}
    long, student = b['no_alignment_long'], b['both_stages']
    told = [
        "- *You have a ViT that does your task, and little time to train with labels*: make it "
        f"linear. The ViT here (2 M parameters) had had {a['teacher']['iterations']} iterations "
        f"with the same labels. Turned linear by both stages of ViT-AdaLA and fine-tuned for "
        f"{student['iterations']}, it is {beside(student, b['softmax_finetuned'])} the same ViT "
        f"with softmax and the same fine-tuning ({gap(student, b['softmax_finetuned'])}), "
        f"{beside(student, b['no_alignment'])} one without alignment "
        f"({gap(student, b['no_alignment'])}), and {gap(student, b['teacher'])} beside the ViT "
        f"as it was. Feature alignment alone is {beside(b['stage2_only'], student)} both stages "
        f"({gap(b['stage2_only'], student)}), and simpler. At {size.replace('x', '×')} the "
        f"backbone takes {times('linear-vit-base', size)} of the time."]
    if 'distilled_l2' in a:
        told.append(
            f"- *You want a Mamba-style student (Adventurer)*: distil it. With 2 M parameters, by "
            f"ViT-Linearizer for {a['distill']['iterations']} iterations and "
            f"{a['distilled']['iterations']} with labels, it is "
            f"{beside(a['distilled'], a['scratch'])} one from scratch with the same labels "
            f"({gap(a['distilled'], a['scratch'])}), {gap(a['distilled'], a['teacher'])} beside "
            f"its teacher, and {beside(a['distilled'], a['distilled_l2'])} one by plain L2 on "
            f"final features ({gap(a['distilled'], a['distilled_l2'])}), which is simpler. At "
            f"{size.replace('x', '×')} the backbone takes {times('adventurer-base', size)} of the "
            "ViT's time.")
    return [
        *told,
        '- *You can train with labels for all of the budget*: do. An Adventurer with labels '
        f"throughout is {beside(a['scratch_long'], a['distilled'])} the distilled one "
        f"({gap(a['scratch_long'], a['distilled'])}), a linear ViT is {beside(long, student)} the "
        f"aligned one ({gap(long, student)}).",
        f"- *Small images*: keep the softmax. A linear ViT-B is faster from "
        f"{faster['linear-vit']}, an Adventurer-B from {faster['adventurer']}."]


def cost(results: dict) -> list[str]:
    """What a teacher adds to a step of training, as it is and read back."""
    ms = {name: row['ms']['median'] for name, row in results['rows'].items()}
    alone = ms['student alone']
    return [f"- *What it costs to train*: a step of distilling `{results['teacher']}` into "
            f"Adventurer-{results['student'][0].upper()} takes {ms['as it is'] / alone:.1f} times "
            f"as long as the student's part alone, {ms['read back'] / alone:.2f} times where the "
            "teacher's features are read back. [How](#what-a-teacher-costs)."]


def which_objective(files: dict[str, dict]) -> list[str]:
    """Which objective, as far as the ablations say.

    Args:
        files: Data set → its ablation.
    """
    first = next(iter(files.values()))['stages']
    few, many = (first[name]['iterations'] for name in ('supervised', 'supervised_long'))
    parts = {
        f'labels for {few} iterations, nothing else': 'supervised',
        'activation matching alone': 'distilled-activation_only',
        'activation matching with nothing masked': 'distilled-activation_unmasked',
        'masked prediction alone': 'distilled-mask_only',
        'plain L2 on final features': 'distilled-plain_l2',
        "the teacher's class probabilities (the head that they trained kept)": 'logits_head',
        f'labels for all {many} iterations': 'supervised_long'}
    found = {where: {words: beside(results['stages'][name], results['stages']['distilled-both'],
                                   spread_of(results)) for words, name in parts.items()}
             for where, results in files.items()}

    def everywhere(verdict: str) -> list[str]:
        return [words for words in parts if all(of[words] == verdict for of in found.values())]

    def gaps(words: str) -> str:
        return ', '.join(
            f'{where} {gap(stages[parts[words]], stages["distilled-both"], spread_of(results))}'
            for where, results in files.items() for stages in [results['stages']])

    scores = ' and '.join(f"{measure(results)} {score(results['stages']['distilled-both'])} on "
                          f'{where}' for where, results in files.items())
    better = '; '.join(f'{words} ({gaps(words)})' for words in everywhere('better than'))
    worse = ', '.join(everywhere('worse than'))
    told = [f'ViT-Linearizer gives an Adventurer {scores}']
    told += [f'Better than it: {better}'] if better else []
    told += [f'Worse: {worse}'] if worse else []
    if len(files) > 1:
        told += [f"Better on {where} only: {', '.join(only)}" for where, of in found.items() if (
            only := [words for words in parts if of[words] == 'better than'
                     and words not in everywhere('better than')])]
    ratios = {'0.25': 'distilled-ratio_25', '0.5': 'distilled-ratio_50', '0.75': 'distilled-both',
              '0.9': 'distilled-ratio_90'}
    means = [f'{where} ' + ', '.join(f"{results['stages'][name]['mean']:.1f} at {ratio}"
                                     for ratio, name in ratios.items()
                                     if 'mean' in results['stages'].get(name, {}))
             for where, results in files.items()]
    return [
        '- *Which objective*, when the teacher was trained for your very classes, with small '
        f"networks (0.3 M parameters) and little time: {first['distill-both']['iterations']} "
        f"iterations without labels and {first['distilled-both']['iterations']} with? "
        f"{'. '.join(told)}. By its mask ratio: {'; '.join(means)}. "
        '[Every part of it](#what-each-part-of-vit-linearizer-brings).']


def which_student(results: dict, timed: dict) -> list[str]:
    """Which network to distil into: the scores in words; its table is further down."""
    s = results['stages']
    names = {STUDENTS[kind]: pair for kind, pair in student_stages().items()}
    best = max(names, key=lambda name: s[names[name][0]]['mean'])
    first = s[names[best][0]]
    level = [f'{name} ({gap(s[own], first)})' for name, (own, _) in names.items()
             if name != best and beside(s[own], first) == 'level with']
    by_gain = {words: [name for name, pair in names.items()
                       if beside(*(s[stage] for stage in pair)) == found]
               for found, words in (('better than', 'helped'), ('level with', 'made no shown '
                                    'difference to'), ('worse than', 'hurt'))}
    rows = measured(timed)
    size = by_area(size for _, size, _ in rows)[-1]
    ms = {told: rows[kind, size, 'fp32']['ms']['median'] for kind, told in STUDENTS.items()}
    teacher = ms.pop(STUDENTS['vit'])
    return [f'- *Which student*, of about the same size, distilled from one teacher? Highest is '
            f'{best} ({score(first)}' + (f"; level with it {' and '.join(level)}" if level else '')
            + '). Beside the same labels alone, distillation ' + '; '.join(
                f"{words} {', '.join(who)}" for words, who in by_gain.items() if who) +
            f". Milliseconds at {size.replace('x', '×')}, where the teacher takes {teacher:.0f}: "
            f"{', '.join(f'{name} {t:.0f}' for name, t in sorted(ms.items(), key=itemgetter(1)))}. "
            '[Scores, sizes and times](#which-student).']


def more_images_than_labels(results: dict) -> list[str]:
    """Whether distillation pays with few labels."""
    names, columns = by_labels(results)
    words = []
    for count, rows in columns.items():
        labels = rows['scratch_long']
        best = max(('distilled', 'distilled_l2', 'logits'), key=lambda way: rows[way]['mean'])
        words.append(
            f"With {count}, labels for all {labels['iterations']} iterations {score(labels)}; the "
            f'best with a teacher that has seen all labels is {beside(rows[best], labels)} that '
            f'({names[best]}, {score(rows[best])})')
        if own := rows.get('distilled_few'):
            words[-1] += (f', ViT-Linearizer from one that has seen only the {count} '
                          f'{beside(own, labels)} it ({score(own)})')
    return [f'- *You have more images than labels*? {measure(results)} on CamVid by labelled '
            f"frames. {'. '.join(words)}. [Every way](#few-labels)."]
