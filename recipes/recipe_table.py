"""The recipes' files as rows of C, for recipe.c: a key is a field. Usage: recipe_table.py FILE.json ... OUT"""
import json
import pathlib
import sys


def value(key, given):
    if key == 'schedule':
        return f'SCHEDULE_{given.upper()}'
    if key == 'optimizer':
        return 'OPTIMIZER_MOMENTUM' if given == 'sgd' else f'OPTIMIZER_{given.upper()}'
    if key == 'init':
        return f'INIT_{given.upper().replace("-", "_")}'
    if isinstance(given, list):
        return '{' + ', '.join(map(str, given)) + '}'
    return json.dumps(given)  # numbers, truth values and ASCII strings are C's


def main():
    rows, names = [], []
    for file in sys.argv[1:-1]:
        recipe = {'decay_all': True} | json.loads(pathlib.Path(file).read_text(encoding='utf-8'))
        index = 'RECIPE_' + recipe['name'].upper().replace('-', '_')
        fields = [f'.{key} = {value(key, given)}' for key, given in recipe.items()]
        fields.append(f'.drop_count = {len(recipe.get("drops", []))}')
        names.append(index)
        rows.append(f'    [{index}] = {{' + ',\n        '.join(fields) + '},\n')
    text = f'enum {{ {", ".join(names)} }};\nstatic const struct recipe recipes[] = {{\n{"".join(rows)}}};\n'
    pathlib.Path(sys.argv[-1]).write_text(text, encoding='utf-8')


main()
