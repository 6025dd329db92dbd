"""The first thing that a reader of the results wants: which one should I take?"""
import statistics
from operator import itemgetter

from accuracy_tables import by_labels, student_stages
from scores import beside, gap, measure, score, spread_of
from speed_tables import STUDENTS, THIN, by_area, measured, overtakes


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
        'holds 0, they are called level, which is not told apart, not equal.', '',
        *which_method(files['camvid'], files['adala_camvid'], files['speed_cpu']),
        *labels_instead(files['camvid'], files['adala_camvid'], of_parts,
                        files.get('cifar10_longer'))]
    told += which_objective(of_parts, files.get('cifar10_longer')) if of_parts else []
    if 'cifar10_scopes' in files and 'CIFAR-10' in of_parts:
        told += which_teacher(of_parts['CIFAR-10'], files['cifar10_scopes'])
    if 'students_camvid' in files:
        told += which_student(files['students_camvid'], files['students_speed'])
    if 'camvid_few_labels' in files:
        told += more_images_than_labels(files['camvid_few_labels'])
    told += which_resolution(files['resolution_streets']) if 'resolution_streets' in files else []
    told += which_images(files['camvid_images']) if 'camvid_images' in files else []
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
    student = b['both_stages']
    told = [
        "- *You have a ViT that does your task, and images on which it is too slow*: make it "
        f"linear. At {size.replace('x', '×')} a base backbone then takes "
        f"{times('linear-vit-base', size)} of the time; it is faster from images of "
        f"{faster['linear-vit']}. What it costs was measured with 2 M parameters, of a ViT that "
        f"had had {a['teacher']['iterations']} iterations with the same labels. Turned linear by "
        f"both stages of ViT-AdaLA and fine-tuned for {student['iterations']}, it is "
        f"{beside(student, b['softmax_finetuned'])} the same ViT "
        f"with softmax and the same fine-tuning ({gap(student, b['softmax_finetuned'])}), "
        f"{beside(student, b['no_alignment'])} one without alignment "
        f"({gap(student, b['no_alignment'])}), and {gap(student, b['teacher'])} beside the ViT "
        f"as it was. Feature alignment alone is {beside(b['stage2_only'], student)} both stages "
        f"({gap(b['stage2_only'], student)}), and simpler."]
    if 'distilled_l2' in a:
        told.append(
            f"- *You want a Mamba-style student (Adventurer)*: distil it. With 2 M parameters, by "
            f"ViT-Linearizer for {a['distill']['iterations']} iterations and "
            f"{a['distilled']['iterations']} with labels, it is "
            f"{beside(a['distilled'], a['scratch'])} one from scratch with the same labels "
            f"({gap(a['distilled'], a['scratch'])}), {gap(a['distilled'], a['teacher'])} beside "
            f"its teacher, and {beside(a['distilled'], a['distilled_l2'])} one by plain L2 on "
            f"final features ({gap(a['distilled'], a['distilled_l2'])}), which is simpler. At "
            f"{size.replace('x', '×')} a base backbone takes {times('adventurer-base', size)} of "
            "the ViT's time.")
    return [
        *told,
        f"- *Small images*: keep the softmax. A linear ViT-B is faster from "
        f"{faster['linear-vit']}, an Adventurer-B from {faster['adventurer']}."]


def which_resolution(curve: dict) -> list[str]:
    """What a larger input buys one network, over all classes and for thin ones, and its time."""
    rows = [row for row in curve['rows'] if 'miou' in row]

    def thin(row: dict) -> float:
        return statistics.mean(row['classes'][name] for name in THIN)

    first, last = rows[0], rows[-1]
    finest, top = max(rows, key=thin), max(row['miou'] for row in rows)
    best = [f"{row['scale']:g}" for row in rows if f"{row['miou']:.1f}" == f'{top:.1f}']
    return [f"- *At which resolution*? Of one network on drawn streets mIoU is highest at "
            f"{' and '.join(best)} times the size of its images ({top:.1f}; "
            f"{first['miou']:.1f} at {first['scale']:g}, {last['miou']:.1f} at "
            f"{last['scale']:g}), that of {', '.join(THIN)} at {finest['scale']:g} "
            f"({thin(finest):.1f}; {thin(first):.1f} at {first['scale']:g}). An image takes "
            f"{first['ms'] / 1e3:.2f} s at {first['scale']:g} and {last['ms'] / 1e3:.2f} s at "
            f"{last['scale']:g}. [Every size](#large-images)."]


def which_images(results: dict) -> list[str]:
    """Whether the images without labels must be those of the task."""
    s = results['stages']
    words = [f"{what} {gap(s[f'distilled_any-{way}'], s[f'distilled-{way}'])} beside the frames "
             f"themselves, {gap(s[f'distilled_any-{way}'], s['supervised'])} beside no distillation"
             for way, what in (('both', 'ViT-Linearizer'), ('plain_l2', 'plain L2'))]
    return [f"- *On which images*? On images of anything, in the place of CamVid's own: "
            f"{'; '.join(words)}. [All scores](#which-images-to-distil-on)."]


def cost(results: dict) -> list[str]:
    """What a teacher adds to a step of training, as it is and read back."""
    ms = {name: row['ms']['median'] for name, row in results['rows'].items()}
    alone = ms['student alone']
    return [f"- *What it costs to train*: a step of distilling `{results['teacher']}` into "
            f"Adventurer-{results['student'][0].upper()} takes {ms['as it is'] / alone:.1f} times "
            f"as long as the student's part alone, {ms['read back'] / alone:.2f} times where the "
            "teacher's features are read back. [How](#what-a-teacher-costs)."]


WAYS = {  # to distil: the stage of the ablations, in words
    'distilled-both': 'ViT-Linearizer',
    'distilled-plain_l2': 'plain L2 on final features',
    'logits_head': "the teacher's class probabilities, their head kept"}


def labels_instead(camvid: dict, adala: dict, files: dict[str, dict], longer: dict | None = None
                   ) -> list[str]:
    """What distillation is beside labels for the same budget.

    Args:
        camvid: Adventurers of 2 M parameters.
        adala: Linear ViTs of 2 M parameters.
        files: Data set → its ablation.
        longer: ViT-Linearizer and plain L2 on CIFAR-10 with more iterations.
    """
    def of_budget(where: str, stages: dict, labels: dict, ways: dict[str, str]) -> str:
        words = [f'{way} {gap(stages[name], labels)}' for name, way in ways.items()]
        return (f" With 0.3 M on {where}, beside labels for all {labels['iterations']:,} "
                f"iterations: {', '.join(words)}.")

    a, b = camvid['stages'], adala['stages']
    told = ['- *You could train with labels for all of the budget instead*? It depends on the '
            'data: try it. With 2 M parameters on CamVid an Adventurer is '
            f"{beside(a['scratch_long'], a['distilled'])} the distilled one "
            f"({gap(a['scratch_long'], a['distilled'])}), a linear ViT "
            f"{beside(b['no_alignment_long'], b['both_stages'])} the aligned one "
            f"({gap(b['no_alignment_long'], b['both_stages'])})."]
    told += [of_budget(where, results['stages'], results['stages']['supervised_long'], WAYS)
             for where, results in files.items()]
    if longer:
        told.append(of_budget(
            'CIFAR-10', longer['stages'], longer['stages']['supervised_longest'],
            {name.replace('distilled-', 'distilled_long-'): way for name, way in WAYS.items()
             if name.startswith('distilled-')}))
    return [''.join(told)]


def which_objective(files: dict[str, dict], longer: dict | None = None) -> list[str]:
    """Which objective, as far as the ablations say.

    Args:
        files: Data set → its ablation.
        longer: The same on CIFAR-10 with more iterations.
    """
    first = next(iter(files.values()))['stages']
    few, many = (first[name]['iterations'] for name in ('supervised', 'supervised_long'))
    parts = {
        f'{few} iterations with labels, without distillation': 'supervised',
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
    worse = '; '.join(everywhere('worse than'))
    told = [f'ViT-Linearizer gives an Adventurer {scores}']
    told += [f'Better than it: {better}'] if better else []
    told += [f'Worse: {worse}'] if worse else []
    if len(files) > 1:
        told += [f"Better on {where} only: {'; '.join(only)}" for where, of in found.items() if (
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
        + (with_more_time(longer) if longer else '') +
        '[Every part of it](#what-each-part-of-vit-linearizer-brings).']


def with_more_time(results: dict) -> str:
    """Whether the order of the objectives is that of the first iterations alone."""
    s = results['stages']
    ours, plain = (s[f'distilled_long-{way}'] for way in ('both', 'plain_l2'))
    return (f"With {s['distill_long-both']['iterations']:,} iterations without labels on CIFAR-10: "
            f'ViT-Linearizer {score(ours)}, plain L2 {score(plain)} ({gap(plain, ours)}). ')


def which_teacher(by_patches: dict, by_cls: dict) -> list[str]:
    """Whether what a teacher classifies by matters.

    Args:
        by_patches: The ablation on CIFAR-10, whose teacher averages its patches.
        by_cls: The scopes, whose teacher reads its class token.
    """
    ways = {'the mean of its patches': (by_patches['stages'], 'teacher', 'distilled-both'),
            'its class token': (by_cls['stages'], 'teacher_cls', 'distilled-visible')}
    words = [f'that which classifies by {how} ({score(s[teacher])} itself) gives a student '
             f"{gap(s[student], s['supervised'])}" for how, (s, teacher, student) in ways.items()]
    students = [s[student] for s, _, student in ways.values()]
    shown = beside(*students) == 'better than'
    advice = "Try one that classifies by the mean of its patches (timm: `global_pool='avg'`). Of"
    return [f"- *Which teacher*? {advice if shown else 'Of'} two that are alike but for this, "
            f"{', '.join(words)} beside the same labels without distillation, by ViT-Linearizer "
            f'on CIFAR-10; student beside student {gap(*students)}. Why was not tested, and '
            'whether it holds for CLIP and its like was not measured. '
            '[Scopes and class tokens](#which-tokens-to-match).']


def which_student(results: dict, timed: dict) -> list[str]:
    """Which network to distil into: the scores in words; its table is further down."""
    s = results['stages']
    names = {STUDENTS[kind]: stages for kind, stages in student_stages().items()}
    best = max(names, key=lambda name: s[names[name][0]]['mean'])
    first = s[names[best][0]]
    level = [f'{name} ({gap(s[own], first)})' for name, (own, *_) in names.items()
             if name != best and beside(s[own], first) == 'level with']
    few, many = (s[stage]['iterations'] for stage in names[best][1:])

    def verdicts(number: int) -> str:
        found = {words: [name for name, stages in names.items()
                         if beside(s[stages[0]], s[stages[number]]) == verdict]
                 for verdict, words in (('better than', 'better for'), ('level with', 'no shown '
                                        'difference for'), ('worse than', 'worse for'))}
        return '; '.join(f"{words} {', '.join(who) if len(who) < len(names) else 'each of them'}"
                         for words, who in found.items() if who)

    rows = measured(timed)
    size = by_area(size for _, size, _ in rows)[-1]
    ms = {told: rows[kind, size, 'fp32']['ms']['median'] for kind, told in STUDENTS.items()}
    teacher = ms.pop(STUDENTS['vit'])
    return [f'- *Which student*, of about the same size, distilled from one teacher? Highest is '
            f'{best} ({score(first)}' + (f"; level with it {' and '.join(level)}" if level else '')
            + f'), all at the rates that suit Adventurer. Beside labels for {few} iterations, '
            f'distillation is {verdicts(1)}; beside labels for all {many}, {verdicts(2)}'
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
